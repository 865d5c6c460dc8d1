"""Jobs that are cancelled, taken over, killed between steps, or meet a broken store."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core import audit, holding, jobs, keys, registry
from core.asked import Asked, Repeat
from core.intake import NewRequest, submit, take_all_in
from core.records import ErasureRequest, Job, Taint, Version
from tests.integration.conftest import look
from tests.integration.worker.disturbing import Killed, at_step, cancel, submitted
from worker import tasks
from worker.context import Context
from worker.engine import Engine
from worker.heart import Heart
from worker.sweep import LEASE, PURGE_EVERY, Sweep


@pytest.mark.parametrize("state", ["running", "verifying", "publishing", "destroying"])
def test_killed_before_any_step_the_next_worker_ends_in_the_same_place(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job_id, request_id = submitted(engine)

    def kill(_: Context) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        at_step(patch, state, kill)
        with pytest.raises(Killed):
            tasks.work(engine, "first")
    job, _ = look(engine, job_id, request_id)
    assert job.state == state
    assert tasks.work(engine, "too soon") is None, "the lease still runs"
    _expire(engine, job_id)
    assert tasks.work(engine, "second") == job_id
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state, job.takeovers, job.attempts) == (
        "succeeded",
        "completed",
        1,
        0,
    )
    with engine.backend.db.reading() as session:
        states = sorted(v.state for v in registry.versions(session, job.model_id))
        assert states.count("serving") == 1
        assert set(states) == {"serving", "destroyed"}
        assert audit.verify_chain(session).broken_at is None
    assert len(engine.backend.checkpoints.digests()) == 2, "serving version and teacher"


def _expire(engine: Engine, job_id: str) -> None:
    with engine.backend.db.transaction() as tx:
        past = tx.now - timedelta(seconds=1)
        tx.session.execute(update(Job).where(Job.id == job_id).values(lease_until=past))


@pytest.mark.parametrize("state", ["running", "verifying"])
def test_a_cancel_is_seen_and_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job_id, request_id = submitted(engine)

    at_step(monkeypatch, state, lambda context: cancel(context, request_id))
    tasks.work(engine, "by hand")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("cancelled", "cancelled")
    assert request.reason == "the person changed their mind"
    assert job.finished_at is not None
    with engine.backend.db.reading() as session:
        assert list(session.scalars(select(Taint))) == []
        serving = registry.serving(session, job.model_id)
    assert serving is not None
    assert serving.number == 1
    assert len(engine.backend.checkpoints.digests()) == 2


def test_a_worker_that_lost_its_lease_writes_nothing_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, request_id = submitted(engine)

    def usurp(context: Context) -> None:
        with context.engine.backend.db.transaction() as tx:
            tx.session.execute(
                update(Job).where(Job.id == job_id).values(fence=Job.fence + 1, owner="another")
            )

    at_step(monkeypatch, "publishing", usurp)
    tasks.work(engine, "by hand")
    job, _ = look(engine, job_id, request_id)
    assert (job.state, job.owner) == ("publishing", "another")
    with engine.backend.db.reading() as session:
        serving = registry.serving(session, job.model_id)
    assert serving is not None
    assert serving.number == 1


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_candidate_that_is_lost_is_never_published(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    job_id, request_id = submitted(engine)

    def harm(context: Context) -> None:
        assert context.job.candidate is not None
        store = engine.backend.settings.home / "store" / "checkpoints"
        file = store / f"{context.job.candidate['digest']}.safetensors"
        if fault == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1] + b"\xff")

    at_step(monkeypatch, "publishing", harm)
    tasks.work(engine, "by hand")
    job, request = look(engine, job_id, request_id)
    assert job.state == "publishing", "it stays held by nobody, and is tried again later"
    assert job.attempts == 1
    assert job.error is not None
    assert job.error.startswith("Checkpoint")
    assert request.state == "in_progress"
    with engine.backend.db.reading() as session:
        serving = registry.serving(session, job.model_id)
    assert serving is not None
    assert serving.number == 1


def test_a_request_that_comes_while_its_subjects_job_runs_joins_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, request_id = submitted(engine)
    second: list[tuple[str, str]] = []

    def again(_: Context) -> None:
        if not second:
            second.append(submitted(engine))

    at_step(monkeypatch, "publishing", again)
    tasks.work(engine, "by hand")
    assert second[0][0] == job_id
    for each in (request_id, second[0][1]):
        _, request = look(engine, job_id, each)
        assert (request.state, request.outcome) == ("completed", "erased")
    assert tasks.work(engine, "nothing more") is None


def test_a_request_that_comes_while_another_job_runs_taints_its_result(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result still remembers the second person, and goes when that job is done."""
    job_id, request_id = submitted(engine)
    late: list[str] = []

    def another(_: Context) -> None:
        if not late:
            wanted = NewRequest("digits", "subject-20")
            late.append(submit(engine.backend, wanted, key_id=None).request.id)

    at_step(monkeypatch, "verifying", another)
    tasks.work(engine, "first")
    job, request = look(engine, job_id, request_id)
    assert request.state == "completed"
    with engine.backend.db.reading() as session:
        serving = registry.serving(session, job.model_id)
        assert serving is not None
        assert registry.taints(session, [serving.id]) == {serving.id: late}
    assert not _gone(engine, serving)
    tasks.work(engine, "second")
    assert _gone(engine, serving)
    with engine.backend.db.reading() as session:
        request = session.get_one(ErasureRequest, late[0])
        assert (request.state, request.outcome) == ("completed", "erased")
        newest = registry.serving(session, job.model_id)
        assert newest is not None
        assert registry.taints(session, [newest.id]) == {}


def _gone(engine: Engine, version: Version) -> bool:
    return not engine.backend.checkpoints.exists(version.digest)


def test_the_heart_keeps_the_lease_and_hears_a_cancel(engine: Engine) -> None:
    job_id, _ = submitted(engine)
    backend = engine.backend
    held = holding.claim(backend.db, "me", backend.settings)
    assert held is not None
    with Heart(backend.db, held, lease_seconds=1.0) as heart:
        time.sleep(1.5)
        assert not heart.should_stop(), "it was renewed past its first second"
        assert holding.claim(backend.db, "other", backend.settings) is None
        with backend.db.transaction() as tx:
            jobs.ask_to_stop(tx, jobs.locked(tx, job_id))
        time.sleep(1.0)
        assert heart.cancelled
        assert heart.should_stop()


def test_a_heart_that_cannot_beat_counts_its_lease_as_lost(engine: Engine) -> None:
    submitted(engine)
    backend = engine.backend
    held = holding.claim(backend.db, "me", backend.settings)
    assert held is not None
    blocked = threading.Event()
    done = threading.Event()

    def hog() -> None:
        with backend.db.transaction() as tx:
            tx.session.execute(select(1))  # takes SQLite's write lock
            blocked.set()
            done.wait(10)

    thread = threading.Thread(target=hog)
    thread.start()
    blocked.wait(5)
    try:
        with Heart(backend.db, held, lease_seconds=0.6) as heart:
            time.sleep(1.2)
            assert heart.should_stop()
            assert heart.lost
            done.set()
    finally:
        done.set()
        thread.join()


def test_sweep_wakes_for_what_waits_and_backs_off(engine: Engine) -> None:
    woken: list[str] = []
    backend = engine.backend
    backend.db._send = woken.append
    sweep = Sweep(backend, "me")
    sweep.once()
    assert woken == []
    job_id, _ = submitted(engine)
    woken.clear()
    sweep.once()
    sweep.once()
    assert woken == [job_id], "not again before its pause is over"
    held = holding.claim(backend.db, "me", backend.settings)
    assert held is not None
    woken.clear()
    sweep.once()
    assert woken == []
    _expire(engine, job_id)
    sweep.once()
    assert woken == [job_id]


def test_a_worker_that_lives_touches_its_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "alive"
    settings = engine.backend.settings.model_copy(update={"alive_file": path})
    sweep = Sweep(replace(engine.backend, settings=settings), "me")
    sweep.beat()
    os.utime(path, (0, 0))
    sweep.beat()
    assert path.stat().st_mtime == 0, "touched more often than the row is renewed"
    sweep._beaten = -PURGE_EVERY
    sweep.beat()
    assert path.stat().st_mtime > 0


def test_sweep_leads_alone_and_hands_over(engine: Engine) -> None:
    from core import leases

    settings = engine.backend.settings
    settings.sweep_seconds = 0.05
    sweep = Sweep(engine.backend, "first")
    sweep.start()
    time.sleep(0.5)
    assert not leases.take(engine.backend.db, LEASE, "second", 10.0)
    sweep.stop()
    assert leases.take(engine.backend.db, LEASE, "second", 10.0)


def test_purge_forgets_answers_of_long_ago(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with engine.backend.db.transaction() as tx:
        key, _ = keys.create(tx, "shop", ["erase"])
    repeat = Repeat("k", "digest", lambda request, _: request.id)
    new = NewRequest(model="digits", subject_id="subject-1")
    take_all_in(engine.backend, [Asked(new, key.id, repeat)])
    sweep = Sweep(engine.backend, "me")
    sweep.purge()
    assert "forgot" not in caplog.text
    monkeypatch.setattr("core.repeats.KEPT", timedelta(days=-1))
    sweep.purge()
    assert "forgot 1 answers to an Idempotency-Key" in caplog.text


def test_purge_removes_what_no_row_names(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    stray = engine.backend.checkpoints.write({"x": np.zeros(3, dtype=np.float32)}, {})
    sweep = Sweep(engine.backend, "me")
    sweep.purge()
    assert engine.backend.checkpoints.exists(stray.digest), "an hour has not passed"
    monkeypatch.setattr("worker.sweep.ORPHAN_SECONDS", -1.0)
    sweep.purge()
    assert not engine.backend.checkpoints.exists(stray.digest)
    assert len(engine.backend.checkpoints.digests()) == 2
