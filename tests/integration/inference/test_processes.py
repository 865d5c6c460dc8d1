"""Several processes of one service: none answers from a version that another has left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import registry
from core.errors import Unavailable
from core.records import Version
from service.inference import loader as loaders
from service.inference.board import Board
from service.inference.loader import Loader
from tests.integration.inference.publishing import publish, until
from worker.engine import Engine

Start = Callable[[], Loader]
LEASE = 20.0


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    """Starts loaders that share a board, as processes do.

    Their lease is one that no busy machine lets run out: who lost it rightly answers nothing.
    """
    engine.backend.settings.poll_seconds = 0.05
    engine.backend.settings.replica_lease_seconds = LEASE
    board = tmp_path / "board"
    Board.make(board)
    started: list[Loader] = []

    def begin() -> Loader:
        loader = Loader(engine.backend, board, 2)
        started.append(loader)
        loader.start()
        return loader

    yield begin
    for loader in started:
        loader.stop()


def number(loader: Loader) -> int:
    with loader.use("digits") as served:
        return served.number


def test_both_turn_when_both_are_ready(engine: Engine, start: Start) -> None:
    one, other = start(), start()
    assert (number(one), number(other)) == (1, 1)
    publish(engine.backend)
    until(lambda: number(one) == 2)
    assert number(other) == 2, "at once: the word is one"


def test_while_one_cannot_load_it_the_old_one_serves_everywhere(
    engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start(), start()
    real = loaders.Loader.load

    def load(self: Loader, *what: object) -> object:
        version = what[2]
        assert isinstance(version, Version)
        if self is other and version.number == 2 and broken:
            raise ValueError("out of memory")
        return real(self, *what)  # type: ignore[arg-type]

    broken = [True]
    monkeypatch.setattr(loaders.Loader, "load", load)
    publish(engine.backend)
    until(lambda: other.status()["digits"]["error"] == "out of memory")
    until(lambda: 2 in one._slots[next(iter(one._slots))].held)
    assert (number(one), number(other)) == (1, 1)
    assert other.ready()
    broken.clear()
    until(lambda: number(one) == 2)
    assert number(other) == 2
    until(lambda: other.status()["digits"]["error"] is None)


def test_one_that_hangs_is_waited_for_as_long_as_its_lease_and_then_answers_nothing_old(
    engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.backend.settings.replica_lease_seconds = 2
    one, hung = start(), start()
    monkeypatch.setattr(hung, "_round", lambda: None)
    time.sleep(0.2)  # the round that was under way has ended
    began = time.monotonic()
    Loader._round(hung)  # its last
    publish(engine.backend)
    until(lambda: _answers(one, 2))
    assert time.monotonic() - began > 1.9, "it was waited for"
    with pytest.raises(Unavailable):
        number(hung)
    monkeypatch.undo()
    until(lambda: _answers(hung, 2))


def _answers(loader: Loader, wanted: int) -> bool:
    try:
        return number(loader) == wanted
    except Unavailable:
        return False


def test_one_that_joins_while_the_newest_cannot_be_loaded_serves_what_the_others_do(
    engine: Engine, start: Start
) -> None:
    one = start()
    backend = engine.backend
    with backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        before = registry.serving(tx.session, model.id)
        bad = registry.add_version(tx, model, digest="0" * 64, metrics={}, parent=before)
        registry.publish(tx, bad)
    until(lambda: one.status()["digits"]["error"] is not None)
    began = time.monotonic()
    joined = start()
    assert time.monotonic() - began < LEASE - 1, "what cannot be loaded is not waited for"
    assert (number(one), number(joined)) == (1, 1)
    assert joined.status()["digits"]["error"] is not None


def test_one_that_joins_tries_again_what_the_others_answer_from(
    engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no call before: a store that was away for a moment would cost its share of them."""
    one = start()
    real, failures = loaders.Loader.load, iter(range(3))

    def load(self: Loader, *what: object) -> object:
        if next(failures, None) is not None:
            raise Unavailable("connection refused")
        return real(self, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(loaders.Loader, "load", load)
    joined = start()
    assert (number(one), number(joined)) == (1, 1)
    assert next(failures, None) is None


def test_a_first_load_may_take_longer_than_the_lease(
    engine: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded is not thrown away, for the lease is renewed meanwhile."""
    engine.backend.settings.replica_lease_seconds = 2
    real, loads = loaders.Loader.load, []

    def load(self: Loader, *what: object) -> object:
        loads.append(what)
        time.sleep(2.5)
        return real(self, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(loaders.Loader, "load", load)
    one = start()
    until(lambda: _answers(one, 1))
    time.sleep(0.3)  # some more rounds
    assert _answers(one, 1)
    assert len(loads) == 1


def test_one_that_joins_with_only_the_newest_turns_with_the_others(
    engine: Engine, start: Start
) -> None:
    one = start()
    publish(engine.backend)
    joined = start()
    until(lambda: number(one) == 2)
    assert number(joined) == 2


def test_a_rollback_turns_all_back(engine: Engine, start: Start) -> None:
    one, other = start(), start()
    publish(engine.backend)
    until(lambda: number(one) == 2)
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        exists = engine.backend.checkpoints.exists
        registry.rollback(tx, model, 1, "worse", file_exists=exists)
    until(lambda: number(one) == 1)
    assert number(other) == 1


def test_one_that_stops_is_not_waited_for(engine: Engine, start: Start) -> None:
    one = start()
    leaver = Loader(engine.backend, one_board(one), 2)
    leaver.start()
    leaver.stop()
    publish(engine.backend)
    until(lambda: number(one) == 2, LEASE - 1)  # sooner than its lease would have ended


def one_board(loader: Loader) -> Path:
    return Path(loader.board._file.name)
