"""A long run goes on where a worker that died left it, to the same bits; then scratch is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update

from core import holding, jobs, points, requests
from core.intake import NewRequest, submit
from core.records import Job, Version
from tests.integration.conftest import look
from tests.integration.worker.disturbing import Killed, two_homes
from worker import memory, tasks
from worker import resuming as resuming_module
from worker.context import Context
from worker.engine import Engine
from worker.sweep import Sweep


@pytest.fixture
def twice(trained: Path, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two copies of one home."""
    with two_homes(trained, tmp_path, lease_seconds=5) as engines:
        yield engines


@pytest.fixture
def one(twice: tuple[Engine, Engine]) -> Engine:
    return twice[0]


def asked(engine: Engine, strategy: str = "rfu_ss", seed: int = 7) -> tuple[str, str]:
    wanted = NewRequest("digits", "subject-trigger", strategy=strategy)
    submitted = submit(engine.backend, wanted, key_id=None)
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(seed=seed))
    return submitted.job_ids[0], submitted.request.id


def expire(engine: Engine) -> None:
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(lease_until=tx.now - timedelta(seconds=1)))


def killed_at(engine: Engine, monkeypatch: pytest.MonkeyPatch, point: str, nth: int) -> None:
    """Run the next job until the `nth` time that it reaches the point; each step is kept."""
    seen = []
    settings = engine.backend.settings

    def watch(name: str) -> None:
        seen.extend([name] if name == point else [])
        if len(seen) == nth:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(points, "_watcher", watch)
        patch.setattr(settings, "checkpoint_seconds", 1e-9)
        with pytest.raises(Killed):
            tasks.work(engine, "first")
    expire(engine)


def scratch(engine: Engine) -> list[str]:
    return engine.backend.scratch._names()


def result(engine: Engine, job_id: str, request_id: str) -> tuple[str, dict[str, Any]]:
    """The digest of what was published, and the job's record of it."""
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("succeeded", "completed"), job.error
    assert scratch(engine) == []
    with engine.backend.db.reading() as session:
        version = session.get_one(Version, job.result_version_id)
    assert job.candidate is not None
    return version.digest, job.candidate


@pytest.mark.parametrize(
    ("strategy", "point", "nth"),
    [
        ("rfu_ss", "unlearn:step", 6),
        ("retrain", "retrain:step", 3),
        ("rfu_ss", "scratch:before-write", 40),
        ("retrain", "scratch:after-write", 60),
        ("rfu_ss", "checkpoint:after-write", 30),
        ("rfu_ss", "candidate:before-commit", 1),
        ("rfu_ss", "candidate:after-commit", 1),
    ],
)
def test_taken_over_mid_way_it_ends_in_the_same_bits(
    twice: tuple[Engine, Engine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    strategy: str,
    point: str,
    nth: int,
) -> None:
    undisturbed, disturbed = twice
    ids = asked(undisturbed, strategy)
    tasks.work(undisturbed, "alone")
    again = asked(disturbed, strategy)
    killed_at(disturbed, monkeypatch, point, nth)
    assert len(scratch(disturbed)) in (1, 2)
    with caplog.at_level(logging.INFO):
        tasks.work(disturbed, "second")
    one, two = result(undisturbed, *ids), result(disturbed, *again)
    assert one[0] == two[0], "the candidate's SHA-256"
    own = ("seconds", "version_id")
    first, second = ({k: v for k, v in each[1].items() if k not in own} for each in (one, two))
    assert first == second
    if point != "candidate:after-commit":
        assert "goes on from step" in caplog.text
    assert "begins anew" not in caplog.text


def test_what_remembers_is_gone_before_the_request_is_completed(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = asked(one)
    killed_at(one, monkeypatch, "candidate:after-commit", 1)
    assert scratch(one) != []
    with monkeypatch.context() as patch:
        patch.setattr(resuming_module, "forget_where", lambda _: None)
        patch.setattr(points, "_watcher", lambda name: _die_at(name, "sign:before", one))
        with pytest.raises(Killed):
            tasks.work(one, "second")
    expire(one)
    tasks.work(one, "third")
    result(one, *ids)


def _die_at(name: str, point: str, engine: Engine) -> None:
    if name == point:
        assert scratch(engine) == []
        raise Killed


def harm_bytes(engine: Engine) -> None:
    [path] = (engine.backend.settings.home / "store" / "scratch").iterdir()
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")


def harm_state(engine: Engine) -> None:
    """Sound bytes under a sound name, of no run."""
    [name] = scratch(engine)
    kept = engine.backend.scratch.latest(name.partition(".")[0])
    assert kept is not None
    engine.backend.scratch.write(name.partition(".")[0], 1, 3, kept.arrays, {"state": "{}"})


def harm_seed(engine: Engine) -> None:
    """Scratch of another run: the job's seed is another."""
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(seed=8))


@pytest.mark.parametrize("harm", [harm_bytes, harm_state, harm_seed])
def test_damaged_or_foreign_scratch_is_ignored_with_a_warning(
    one: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Engine], None],
) -> None:
    ids = asked(one)
    killed_at(one, monkeypatch, "unlearn:step", 6)
    harm(one)
    with caplog.at_level(logging.WARNING):
        tasks.work(one, "second")
    result(one, *ids)
    assert "cannot be used" in caplog.text or "begins anew" in caplog.text


def test_scratch_that_cannot_be_kept_or_read_costs_only_time(
    one: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    ids = asked(one)
    monkeypatch.setattr(one.backend.settings, "checkpoint_seconds", 0.05)
    for name in ("write", "latest"):
        monkeypatch.setattr(type(one.backend.scratch), name, broken)
    with caplog.at_level(logging.WARNING):
        tasks.work(one, "alone")
    result(one, *ids)
    assert "could not be kept" in caplog.text
    assert "cannot be read" in caplog.text


def test_a_cancelled_job_leaves_no_scratch(one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, request_id = asked(one)
    killed_at(one, monkeypatch, "unlearn:step", 6)
    with one.backend.db.transaction() as tx:
        requests.end(tx, request_id, "cancelled", "the person changed their mind")
    tasks.work(one, "second")
    job, request = look(one, job_id, request_id)
    assert (job.state, request.state, scratch(one)) == ("cancelled", "cancelled", [])


def test_sweep_removes_the_scratch_of_jobs_that_ended(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(one)
    killed_at(one, monkeypatch, "unlearn:step", 6)
    sweep = Sweep(one.backend, "me")
    sweep.purge()
    assert len(scratch(one)) == 1, "whoever takes the job over needs it"
    held = holding.claim(one.backend.db, "other", one.backend.settings)
    assert held is not None
    holding.fail(one.backend.db, held, "a fault", one.backend.settings, retry=False)
    sweep.purge()
    assert scratch(one) == []


def test_sweep_removes_candidates_that_no_job_will_publish(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a job that was rejected, or whose attempt failed while it was verified."""
    asked(one)
    killed_at(one, monkeypatch, "candidate:after-commit", 1)
    sweep = Sweep(one.backend, "me")
    sweep.purge()
    assert len(one.backend.checkpoints.digests()) == 3, "serving, teacher and the candidate"
    held = holding.claim(one.backend.db, "other", one.backend.settings)
    assert held is not None
    with one.backend.db.transaction() as tx:
        holding.give_to_person(tx, holding.check(tx, held), "look")
    sweep.purge()
    assert len(one.backend.checkpoints.digests()) == 3, "a reviewer may approve it"
    with one.backend.db.transaction() as tx:
        jobs.reject(tx, held.job_id, "it forgot too much")
    sweep.purge()
    assert len(one.backend.checkpoints.digests()) == 2
    with one.backend.db.reading() as session:
        states = sorted(v.state for v in session.query(Version))
    assert states == ["destroyed", "serving"]


SPENT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
]


@pytest.mark.parametrize("error", SPENT, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("strategy", "method"), [("rfu_ss", "unlearn"), ("retrain", "train")])
def test_memory_that_runs_out_halves_the_minibatches(
    one: Engine, monkeypatch: pytest.MonkeyPatch, strategy: str, method: str, error: Exception
) -> None:
    import worker.forget

    real, tried = getattr(worker.forget, method), []

    def greedy(*args: Any, **options: Any) -> Any:
        size = options["halvings"] if method == "unlearn" else args[2].batch
        tried.append(size)
        if len(tried) < 3:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(worker.forget, method, greedy)
    ids = asked(one, strategy)
    tasks.work(one, "alone")
    _, candidate = result(one, *ids)
    assert tried[:3] in ([0, 1, 2], [tried[0], tried[0] // 2, tried[0] // 4])
    assert "memory ran out: the minibatches were a 4th of what is usual" in candidate["warnings"]
    job, _ = look(one, *ids)
    assert job.verification is not None
    assert candidate["warnings"] == job.verification["warnings"]
    assert job.attempts == 0


def test_where_nothing_fits_a_person_is_told_what_to_do(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("worker.forget.unlearn", greedy)
    job_id, request_id = asked(one)
    tasks.work(one, "alone")
    job, request = look(one, job_id, request_id)
    assert (job.state, request.state, job.attempts) == ("needs_review", "needs_review", 1)
    assert job.error is not None
    assert "with minibatches of a 16th of the usual size too" in job.error
    assert "Give the worker a machine with more memory" in job.error
    assert "Traceback" not in job.error


def test_other_faults_are_not_taken_for_a_want_of_memory(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Context) -> None:
        raise RuntimeError("shape mismatch")

    assert not memory.ran_out(ValueError("out of memory"))
    monkeypatch.setattr("worker.forget.resumable", lambda *_: broken(*_[:1]))
    job_id, request_id = asked(one)
    tasks.work(one, "alone")
    job, _ = look(one, job_id, request_id)
    assert (job.state, job.error) == ("queued", "RuntimeError: shape mismatch")
