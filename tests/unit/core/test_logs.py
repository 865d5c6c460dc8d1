"""Log lines: one an event, the ids of what they are about, and nothing that callers sent."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from core import logs

log = logging.getLogger("tests.something")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIETER}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    with logs.bound(request_id="req-1"), logs.bound(job_id="job-1"):
        log.info("job %s\nclaimed", "é", extra={"state": "queued"})
    log.debug("not told")
    log.warning("late")
    first, second = lines(capsys)
    assert first.pop("time").endswith("Z")
    assert first == {
        "event": "job é\nclaimed",
        "level": "info",
        "logger": "tests.something",
        "request_id": "req-1",
        "job_id": "job-1",
        "state": "queued",
    }
    assert (second["level"], "job_id" in second) == ("warning", False)


def test_what_json_numbers_do_not_reach_is_told_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    log.info("large", extra={"number": 2**70})
    assert lines(capsys)[0]["number"] == 2**70


def test_a_terminal_gets_words_and_anything_else_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure(None)
    log.info("one", extra={"a": 1})
    assert lines(capsys)[0]["a"] == 1
    logs.configure("text")
    log.info("two", extra={"a": 1})
    said = capsys.readouterr().err
    assert "two" in said
    assert "a=1" in said
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    logs.configure(None)
    log.info("three")
    assert "\x1b[" in capsys.readouterr().err


def fail(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError:
        raise ValueError(f"no {text}") from None


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_says_where_and_only_if_it_may_what(
    capsys: pytest.CaptureFixture[str], style: logs.Style
) -> None:
    for messages in (True, False):
        logs.configure(style, messages=messages)
        try:
            fail("subject-1")
        except ValueError as error:
            log.exception("failed")
            log.error("again", exc_info=error)
        said = capsys.readouterr().err
        assert said.count("in fail") == 2
        assert said.count("ValueError") >= 2
        assert ("subject-1" in said) is messages


def test_the_cause_of_an_error_is_told_without_its_words() -> None:
    try:
        try:
            raise OSError("jane")
        except OSError as inner:
            raise RuntimeError("doe") from inner
    except RuntimeError as error:
        told = logs.described(error, message=False)
    assert [line for line in told.splitlines() if not line.startswith("  ")] == [
        "builtins.RuntimeError",
        "builtins.OSError",
    ]


def test_warnings_are_lines_and_exc_info_of_nothing_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    log.error("nothing", exc_info=True)
    warned, other = lines(capsys)
    assert (warned["logger"], "old" in warned["event"]) == ("py.warnings", True)
    assert "exception" not in other


def test_a_line_that_cannot_be_written_stops_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logs.configure("json")
    log.info("%s %s", "one")
    log.info("two")
    assert [line["event"] for line in lines(capsys)] == ["two"]
