"""A fault of any kind is told in words, tried again, and then given to a person."""

from __future__ import annotations

import errno
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core import jobs
from core.errors import LetheError
from core.records import Job, Version
from tests.integration.conftest import look
from tests.integration.worker.disturbing import at_step, submitted
from worker import tasks
from worker.context import Context
from worker.engine import Engine
from worker.faults import told


@pytest.mark.parametrize("state", ["running", "verifying", "publishing", "destroying"])
def test_a_fault_is_tried_again_and_then_given_to_a_person(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job_id, request_id = submitted(engine)

    def full(_: Context) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        at_step(patch, state, full)
        for attempt in (1, 2, 3):
            with engine.backend.db.transaction() as tx:
                tx.session.execute(update(Job).values(not_before=tx.now))
                tx.session.execute(update(Job).values(lease_until=tx.now - timedelta(seconds=1)))
            tasks.work(engine, "by hand")
            assert tasks.work(engine, "too soon") is None, "there is a pause before it"
            job, request = look(engine, job_id, request_id)
            assert (job.attempts, job.takeovers) == (attempt, 0)
    assert (job.state, request.state) == ("needs_review", "needs_review")
    assert job.error == (
        "the disk is full: free some space, then retry the job ([Errno 28] No space left on device)"
    )
    with engine.backend.db.transaction() as tx:
        jobs.retry(tx, job_id)
    tasks.work(engine, "by hand")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state, job.error) == ("succeeded", "completed", None)


class OfTheStore(LetheError):
    """As the stores say it: with what the system said as its cause."""


STORE = "Cannot write to the checkpoint store: check its space and permissions"
LANCE = "LanceError(IO): Generic LocalFileSystem error: {} (os error 1)"


@pytest.mark.parametrize(
    ("error", "advice", "retried"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: free", True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up: raise", True),
        (OSError(errno.EROFS, "Read-only file system"), "the store is read-only: make it", True),
        (PermissionError(errno.EACCES, "Permission denied"), "lacks the rights: grant", True),
        (PermissionError(errno.EPERM, "Operation not permitted"), "lacks the rights", True),
        (OSError(LANCE.format("No space left on device")), "the disk is full: free", True),
        (RuntimeError(LANCE.format("Permission denied")), "lacks the rights: grant", True),
        (MemoryError(), "memory ran out: give the worker more, then retry the job", True),
        (KeyError("no such thing"), "KeyError: 'no such thing'", True),
        (ValueError("a batch of 0"), "a batch of 0", False),
        (OfTheStore("Permission denied to all but the owner"), "Permission denied to all", True),
    ],
)
def test_a_fault_is_told_in_words_that_say_what_to_do(
    error: Exception, advice: str, retried: bool
) -> None:
    said, retry = told(error)
    assert advice in said
    assert retry is retried
    assert "\n" not in said
    if isinstance(error, OSError):
        wrapped = OfTheStore(STORE)
        wrapped.__cause__ = error
        assert told(wrapped) == (f"{said.partition(' (')[0]} ({STORE})", True)


def test_any_fault_ends_in_the_jobs_record(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that nobody thought of: a worker that fell silent would be taken for a lost one."""
    job_id, request_id = submitted(engine)

    def odd(_: Context) -> None:
        raise StopIteration

    at_step(monkeypatch, "running", odd)
    tasks.work(engine, "by hand")
    job, _ = look(engine, job_id, request_id)
    assert (job.state, job.attempts, job.error) == ("queued", 1, "StopIteration: StopIteration")


def test_a_problem_that_no_retry_solves_goes_to_a_person_at_once(engine: Engine) -> None:
    with engine.backend.db.transaction() as tx:
        version = tx.session.scalars(select(Version)).one()
        broken = engine.backend.checkpoints.read(version.digest)
        arrays = {name: a * float("nan") for name, a in broken.arrays.items()}
        version.digest = engine.backend.checkpoints.write(arrays, broken.metadata).digest
    job_id, request_id = submitted(engine)
    tasks.work(engine, "by hand")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state, job.attempts) == ("needs_review", "needs_review", 1)
    assert "NaN" in (job.error or "")
