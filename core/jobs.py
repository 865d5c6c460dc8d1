"""Jobs: enlisted for requests, read, cancelled, retried, decided. See core.holding for workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import registry
from core.db import Transaction
from core.errors import Conflict, Invalid, NotFound
from core.limits import APPROVAL
from core.records import ErasureRequest, Job, JobRequest
from core.states import JOB, JOB_HELD, REQUEST, REQUEST_OPEN
from core.transitions import move

NO_PROGRESS: dict[str, Any] = {
    "phase": "queued",
    "step": 0,
    "total_steps": 0,
    "fraction": 0.0,
    "forget_loss": None,
    "remember_loss": None,
    "alpha": None,
}


def get(session: Session, job_id: str, *, only: str | None = None) -> Job:
    """The job; raises `NotFound`, also when it is of another model than `only` (an id)."""
    job = session.get(Job, job_id)
    if job is None or only not in (None, job.model_id):
        raise NotFound(f"there is no job {job_id}")
    return job


def locked(tx: Transaction, job_id: str) -> Job:
    """The job's row, locked and fresh; raises `NotFound`."""
    query = select(Job).where(Job.id == job_id).with_for_update()
    job = tx.session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def listed(
    session: Session,
    *,
    status: str | None = None,
    model: str | None = None,
    only: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[Job]:
    """Jobs, newest first, at most `limit`, those older than the id `after`.

    `only` (a model's id) keeps those of the one model that the caller's key is for.
    """
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if status is not None:
        if status not in JOB.moves:
            raise Invalid(f"unknown status {status!r}; use {', '.join(JOB.moves)}")
        query = query.where(Job.state == status)
    if model is not None:
        query = query.where(Job.model_id == registry.model_named(session, model).id)
    if only is not None:
        query = query.where(Job.model_id == only)
    if after is not None:
        query = query.where(Job.id < after)
    return list(session.scalars(query))


def request_ids(session: Session, job_id: str) -> list[str]:
    """The requests that the job carries out."""
    query = select(JobRequest.request_id).where(JobRequest.job_id == job_id)
    return list(session.scalars(query.order_by(JobRequest.request_id)))


def requests_of(session: Session, job_id: str) -> list[ErasureRequest]:
    """The requests that the job carries out, as records."""
    query = (
        select(ErasureRequest)
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == job_id)
    )
    return list(session.scalars(query.order_by(ErasureRequest.id)))


def revisions(session: Session, job_ids: set[str]) -> dict[str, int]:
    """The revision of each job, for those who wait for a change."""
    query = select(Job.id, Job.revision).where(Job.id.in_(job_ids))
    return dict(session.execute(query).all())


def reschedule(tx: Transaction, job_id: str) -> None:
    """Set the job's due date to the soonest of its requests."""
    soonest = (
        select(func.min(ErasureRequest.due_at))
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == job_id)
        .scalar_subquery()
    )
    tx.session.flush()
    tx.session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(due_at=soonest, revision=Job.revision + 1)
        .execution_options(synchronize_session=False)
    )


def ask_to_stop(tx: Transaction, job: Job) -> None:
    """Ask the worker that holds the job to cancel it at its next step."""
    tx.session.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(cancel_requested=True, revision=Job.revision + 1)
        .execution_options(synchronize_session=False)
    )
    tx.record("job", job.id, "cancel requested")


def retry(tx: Transaction, job_id: str) -> Job:
    """Run a failed job, or one in review, again. A published one goes on where it stood.

    Raises `Conflict` for a job in any other state, or when all its requests have ended.
    """
    job = locked(tx, job_id)
    if job.state not in ("failed", "needs_review"):
        raise Conflict(
            f"job {job_id} is {job.state}; only a failed job, or one in review, is retried"
        )
    if all(request.state not in REQUEST_OPEN for request in requests_of(tx.session, job_id)):
        raise Conflict(f"the requests of job {job_id} have ended: there is nothing left to erase")
    _resume(tx, job, "destroying" if job.published_at else "queued", "retried")
    return job


def approve(tx: Transaction, job_id: str, reason: str) -> Job:
    """Let a job in review go on, as the reviewer decided; raises `Conflict`.

    Its candidate is published; one that was too large to begin without a reviewer begins.
    """
    job = locked(tx, job_id)
    if job.state != "needs_review" or job.published_at:
        raise Conflict(f"job {job_id} is {job.state} with nothing that waits for a decision")
    if job.candidate is not None:
        _resume(tx, job, "publishing", reason)
    elif job.progress["phase"] == APPROVAL:
        job.approved_at = tx.now
        _resume(tx, job, "queued", reason)
    else:
        raise Conflict(f"job {job_id} has no candidate to approve: retry it, or reject it")
    return job


def reject(tx: Transaction, job_id: str, reason: str) -> Job:
    """Refuse to publish the candidate of a job in review: the job fails, the service goes on.

    Its requests stay in review, for they still owe the person something: retry the job, or
    cancel or reject them. Raises `Conflict` for a job that is not in review, or whose result
    is published already.
    """
    job = locked(tx, job_id)
    if job.state != "needs_review":
        raise Conflict(f"job {job_id} is {job.state}; only a job in review can be rejected")
    if job.published_at is not None:
        raise Conflict(f"job {job_id} has published its result already; retry it to finish it")
    move(tx, job, "failed", reason=reason, error=reason, candidate=None, finished_at=tx.now)
    return job


def _resume(tx: Transaction, job: Job, to: str, reason: str) -> None:
    JOB.check(job.id, job.state, to)
    held = to in JOB_HELD
    values: dict[str, Any] = {"attempts": 0, "takeovers": 0, "error": None, "not_before": tx.now}
    if held:  # a held state without a holder: the lease has run out, a worker takes it over
        values |= {"owner": None, "lease_until": tx.now - timedelta(seconds=1)}
    else:
        values |= {"candidate": None, "rung": 0, "cancel_requested": False}
    try:
        move(tx, job, to, reason=reason, finished_at=None, **values)
    except IntegrityError:  # the index that lets one job a model be held
        raise Conflict(f"another job of the same model runs now; retry {job.id} after it") from None
    follow(tx, job)
    tx.wake(job.id, job.model_id)


def follow(tx: Transaction, job: Job, reason: str | None = None) -> None:
    """Move the job's requests to where their jobs, taken together, have brought them.

    In review while a person must decide on one of the jobs, else in progress once one is
    held or has succeeded, else scheduled.
    """
    query = (
        select(ErasureRequest)
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == job.id)
        .order_by(ErasureRequest.id)
        .with_for_update(of=ErasureRequest)
        .execution_options(populate_existing=True)
    )
    for request in tx.session.scalars(query).all():
        states = set(
            tx.session.scalars(
                select(Job.state)
                .join(JobRequest, JobRequest.job_id == Job.id)
                .where(JobRequest.request_id == request.id)
            )
        )
        if states & {"needs_review", "failed"}:
            to = "needs_review"
        else:
            to = "in_progress" if states & {*JOB_HELD, "succeeded"} else "scheduled"
        if request.state != to and to in REQUEST.moves[request.state]:
            move(tx, request, to, reason=reason)
