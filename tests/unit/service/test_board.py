"""The board: one word a model, turned when every process that is heard of is ready."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from core.errors import LetheError
from service.inference import board as boards
from service.inference.board import Board


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Board.make(tmp_path / "board")
    return tmp_path / "board"


@pytest.fixture
def two(path: Path) -> Iterator[tuple[Board, Board]]:
    with closing(Board(path, 60.0)) as one, closing(Board(path, 60.0)) as other:
        yield one, other


def test_alone_a_word_turns_at_once() -> None:
    with closing(Board(None, 60.0)) as board:
        column = board.column("mdl_1")
        assert board.word(column) == 0
        assert board.ready(column, 3) == 3
        assert board.ready(column, 1) == 1, "back to an earlier version"
        assert board.word(column) == 1


def test_the_last_to_be_ready_turns_the_word_for_all(two: tuple[Board, Board]) -> None:
    one, other = two
    column = one.column("mdl_1")
    assert other.column("mdl_1") == column
    assert one.ready(column, 1) == 1, "before the first there is nothing older to answer from"
    assert other.ready(column, 1) == 1
    assert one.ready(column, 2) == 1
    assert other.word(column) == 1
    assert other.ready(column, 2) == 2
    assert one.word(column) == 2


def test_a_version_that_one_has_passed_over_is_not_waited_for(two: tuple[Board, Board]) -> None:
    one, other = two
    column = one.column("mdl_1")
    one.ready(column, 1)
    other.ready(column, 1)
    assert one.ready(column, 2) == 1
    assert other.ready(column, 3) == 1
    assert one.ready(column, 3) == 3


def test_each_model_has_its_own_word(two: tuple[Board, Board]) -> None:
    one, other = two
    columns = [one.column("mdl_1"), other.column("mdl_2")]
    assert columns[0] != columns[1]
    assert one.ready(columns[0], 5) == 5
    assert other.word(columns[1]) == 0


def test_who_leaves_or_falls_silent_is_not_waited_for(path: Path) -> None:
    with closing(Board(path, 0.3)) as one:
        column = one.column("mdl_1")
        silent, leaver = Board(path, 0.3), Board(path, 0.3)
        for board in (one, silent, leaver):
            board.ready(column, 1)
        assert one.ready(column, 2) == 1
        leaver.close()
        assert one.ready(column, 2) == 1, "one is still waited for"
        until = time.monotonic() + 10
        while one.ready(column, 2) != 2:
            one.beat()
            assert time.monotonic() < until
            time.sleep(0.01)
        # Back again: it finds the word turned, and its old version turns it back no more.
        silent.beat()
        assert silent.word(column) == 2
        assert silent.ready(column, 1) == 2
        silent.close()


def test_a_row_taken_for_abandoned_is_not_written_by_who_comes_back(path: Path) -> None:
    with ExitStack() as opened:
        silent = opened.enter_context(closing(Board(path, 0.3)))
        column = silent.column("mdl_1")
        silent.ready(column, 1)
        time.sleep(0.4)
        heir = opened.enter_context(closing(Board(path, 0.3)))
        assert heir._row == silent._row
        assert heir.ready(column, 2) == 2
        heir.beat()
        assert silent.ready(column, 1) == 2
        assert heir._row != silent._row


def test_what_is_lost_is_not_ready(two: tuple[Board, Board]) -> None:
    one, other = two
    column = one.column("mdl_1")
    one.ready(column, 1)
    other.ready(column, 1)
    other.ready(column, 2)
    other.nothing_ready()
    assert one.ready(column, 2) == 1


def test_there_is_an_end_to_models_and_processes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Board(path, 60.0)) as board:
        for number in range(boards.MODELS):
            board.column(f"mdl_{number}")
        with pytest.raises(LetheError, match="at most 256 models"):
            board.column("mdl_more")
        with ExitStack() as opened:
            for _ in range(boards.PROCESSES - 1):
                opened.enter_context(closing(Board(path, 60.0)))
            with pytest.raises(LetheError, match="at most 64 processes"):
                Board(path, 60.0)


def test_a_process_that_was_killed_is_not_waited_for_and_others_see_its_word(path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from service.inference.board import Board\n"
        f"board = Board(Path({str(path)!r}), 0.5); column = board.column('mdl_1')\n"
        "board.ready(column, 1); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with closing(Board(path, 0.5)) as board:
            column = board.column("mdl_1")
            assert board.word(column) == 1
            process.kill()
            until = time.monotonic() + 10
            while board.ready(column, 2) != 2:
                board.beat()
                assert time.monotonic() < until
                time.sleep(0.01)
