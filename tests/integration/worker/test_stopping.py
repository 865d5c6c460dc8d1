"""A worker that is asked to stop hands its job back; whoever comes next ends in the same bits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.worker import state as celery_state

from core import audit, points
from core.records import Version
from tests.integration.conftest import look
from tests.integration.worker.disturbing import asked, at_step, cancel, submitted, two_homes
from worker import app as app_module
from worker import tasks
from worker.app import Stop
from worker.closing import Closing
from worker.context import Context
from worker.engine import Engine


@pytest.fixture
def twice(trained: Path, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two copies of one home."""
    with two_homes(trained, tmp_path, checkpoint_seconds=3600) as engines:
        yield engines


def next_worker(engine: Engine) -> Engine:
    """Another worker on the same home."""
    return Engine(engine.backend, engine.device)


def digest_after(engine: Engine, job_id: str, request_id: str) -> str:
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("succeeded", "completed"), job.error
    assert (job.attempts, job.takeovers) == (0, 0)
    with engine.backend.db.reading() as session:
        return session.get_one(Version, job.result_version_id).digest


@pytest.mark.parametrize(
    ("strategy", "point"), [("rfu_ss", "unlearn:step"), ("retrain", "retrain:step")]
)
def test_stopped_mid_way_another_goes_on_from_that_very_step(
    twice: tuple[Engine, Engine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    strategy: str,
    point: str,
) -> None:
    digests = []
    for engine, stopped in zip(twice, (False, True), strict=True):
        job_id, request_id = asked(engine, strategy)
        seen: list[str] = []

        def stop(name: str, seen: list[str] = seen, engine: Engine = engine) -> None:
            seen.append(name)
            if seen.count(point) == 2:
                engine.closing.begin(0.0)

        if stopped:
            with monkeypatch.context() as patch:
                patch.setattr(points, "_watcher", stop)
                tasks.work(engine, "first")
            job, request = look(engine, job_id, request_id)
            assert (job.state, request.state, job.owner) == ("queued", "scheduled", None)
            assert len(engine.backend.scratch._names()) == 1
            assert tasks.work(engine, "it takes no other") is None
        with caplog.at_level("INFO"):
            assert tasks.work(next_worker(engine), "second") == job_id
        assert ("goes on from step" in caplog.text) is stopped
        digests.append(digest_after(engine, job_id, request_id))
        assert engine.backend.scratch._names() == []
    assert digests[0] == digests[1], "the candidate's SHA-256"


@pytest.mark.parametrize("state", ["running", "verifying", "publishing", "destroying"])
def test_stopped_between_steps_nothing_is_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job_id, request_id = submitted(engine)

    def stop(context: Context) -> None:
        context.engine.closing.begin(0.0)
        context.stop_if_lost()

    with monkeypatch.context() as patch:
        at_step(patch, state, stop)
        tasks.work(engine, "first")
    job, _ = look(engine, job_id, request_id)
    assert (job.state, job.owner) == ("queued" if state == "running" else state, None)
    with engine.backend.db.reading() as session:
        assert "handed back" in [e.event for e in audit.history(session, "job", job_id)]
    assert tasks.work(next_worker(engine), "at once: no lease has to run out") == job_id
    digest_after(engine, job_id, request_id)


def test_a_cancel_goes_before_a_stop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, request_id = submitted(engine)

    def both(context: Context) -> None:
        cancel(context, request_id)
        context.engine.closing.begin(0.0)

    at_step(monkeypatch, "running", both)
    tasks.work(engine, "first")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("cancelled", "cancelled")
    assert engine.backend.scratch._names() == []


def test_there_is_time_to_end_what_ends_soon(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, request_id = submitted(engine)
    at_step(monkeypatch, "running", lambda context: context.engine.closing.begin(60.0))
    tasks.work(engine, "first")
    digest_after(engine, job_id, request_id)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Exit statuses of the process that did not end."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setattr(celery_state, "should_stop", None)
    timers: list[threading.Timer] = []

    class Recorded(threading.Timer):
        def start(self) -> None:
            timers.append(self)
            super().start()

    monkeypatch.setattr(threading, "Timer", Recorded)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield statuses
    for timer in timers:  # or the grace would end this very process, tests later
        timer.cancel()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_each_signal_asks_for(ended: list[int], number: signal.Signals) -> None:
    closing = Closing()
    assert not closing.begun
    Stop(closing, grace_seconds=60.0).install()
    signal.raise_signal(number)
    assert celery_state.should_stop == 0
    assert (closing.begun, closing.over) == (True, False)
    signal.raise_signal(number)
    assert closing.over
    assert ended == []
    signal.raise_signal(number)
    assert ended == [128 + number]


def test_the_grace_has_an_end(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app_module, "LEAST_GRACE", 0.05)
    Stop(Closing(), grace_seconds=0.0).install()
    signal.raise_signal(signal.SIGTERM)
    until = time.monotonic() + 5
    while not ended and time.monotonic() < until:
        time.sleep(0.01)
    assert ended == [1]
    assert "another takes the job over once its lease has run out" in caplog.text
