"""Holding a job: claim, heartbeat, progress, hand back. Every write checks the fencing number.

A fencing number grows with each claim, so that a worker which was paused past its lease and
wakes up finds its writes refused (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import IntegrityError

from core import claims, jobs, plots
from core.claims import Found
from core.db import Database, Transaction, database_now
from core.demands import ANYTHING, Offer
from core.errors import CancelRequested, LeaseLost
from core.records import Job
from core.settings import Settings
from core.states import JOB_HELD, JOB_PAST_STOPPING, JOB_STOPPABLE
from core.transitions import move


@dataclass(frozen=True)
class Held:
    """A job that this worker holds, under one fencing number."""

    job_id: str
    model_id: str
    state: str
    fence: int
    owner: str


def claim(db: Database, owner: str, settings: Settings, offer: Offer = ANYTHING) -> Held | None:
    """Take the job whose turn it is: a queued one, or one whose holder went silent.

    Whose turn it is, of those that `offer` takes, `core.turns` says. At most one job a model is
    held; a unique index decides between two claimers.
    """
    for _ in range(5):
        try:
            with db.transaction() as tx:
                return _claim(tx, owner, settings, offer)
        except IntegrityError:
            continue  # another took a job of the same model in the same moment
    return None


def _claim(tx: Transaction, owner: str, settings: Settings, offer: Offer) -> Held | None:
    found = claims.found(tx.session, tx.now, offer)
    job = next((job for each in found.in_order if (job := _free(tx, each.job_id))), None)
    if job is None:
        return None
    fence = job.fence + 1
    lease: dict[str, Any] = {
        "owner": owner,
        "lease_until": tx.now + timedelta(seconds=settings.lease_seconds),
        "fence": fence,
    }
    if job.state == "queued":
        _start(tx, job, found, lease)
    else:
        # Only a lease that was lost counts as taken over; one handed back has no owner.
        lost = job.owner is not None
        takeovers = job.takeovers + lost
        if takeovers > settings.max_takeovers:
            give_to_person(tx, job, f"{takeovers} workers were lost while they ran this job")
            return _claim(tx, owner, settings, offer)
        tx.session.execute(
            update(Job)
            .where(Job.id == job.id, Job.fence == job.fence)
            .values(revision=Job.revision + 1, takeovers=takeovers, **lease)
            .execution_options(synchronize_session=False)
        )
        if lost:
            tx.record("job", job.id, "taken over", state=job.state, fence=fence)
    return Held(job.id, job.model_id, job.state, fence, owner)


def _free(tx: Transaction, job_id: str) -> Job | None:
    """The job, locked, unless another claimer has it or was faster."""
    runnable = or_(
        and_(Job.state == "queued", Job.not_before <= tx.now),
        and_(Job.state.in_(JOB_HELD), Job.lease_until < tx.now),
    )
    query = select(Job).where(Job.id == job_id, runnable).with_for_update(skip_locked=True)
    return tx.session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _start(tx: Transaction, job: Job, found: Found, lease: dict[str, Any]) -> None:
    """From the queue to a worker, on the account of its tenant."""
    started = job.started_at or tx.now
    move(tx, job, "running", started_at=started, **lease)
    jobs.follow(tx, job)
    claims.charge(tx, job.id, found)


def claimable(db: Database, limit: int = 20, offer: Offer = ANYTHING) -> list[str]:
    """Jobs that a worker could claim now, in the order of their turns: what workers are woken for.

    One a model at most, for no more can run at once.
    """
    with db.reading() as session:
        in_order = claims.found(session, database_now(session), offer).in_order
        return [each.job_id for each in in_order[:limit]]


def heartbeat(db: Database, held: Held, seconds: float) -> bool:
    """Renew the lease; True when a cancel was asked for. Raises `LeaseLost`."""
    with db.transaction() as tx:
        job = check(tx, held)
        job.lease_until = tx.now + timedelta(seconds=seconds)
        return job.cancel_requested


def report(
    db: Database, held: Held, progress: dict[str, Any], curves: plots.Curves | None = None
) -> bool:
    """Write progress for those who watch; True when a cancel was asked for."""
    with db.transaction() as tx:
        job = check(tx, held)
        job.progress = progress
        if curves is not None and curves.changed:
            plots.keep_curves(tx, job.id, curves)
        job.revision += 1
        return job.cancel_requested


def check(tx: Transaction, held: Held) -> Job:
    """The job's row, locked, if it is still ours; raises `LeaseLost`."""
    job = jobs.locked(tx, held.job_id)
    if job.fence != held.fence or job.owner != held.owner or job.state not in JOB_HELD:
        raise LeaseLost(f"job {held.job_id} is held by another worker now")
    return job


def advance(tx: Transaction, held: Held, to: str, **values: Any) -> Job:
    """Move the held job on, with `values`, in the caller's transaction.

    Raises `LeaseLost`, and `CancelRequested` where the job would pass the point after which
    it cannot be cancelled: whoever cancelled it was told that it would end.
    """
    job = check(tx, held)
    if job.cancel_requested and job.state in JOB_STOPPABLE and to in JOB_PAST_STOPPING:
        raise CancelRequested(f"job {held.job_id} was cancelled before it published")
    move(tx, job, to, if_fence=held.fence, **values)
    return job


def hand_back(db: Database, held: Held, reason: str) -> str:
    """Give the job to whoever claims it next, at once: no attempt was spent, no worker lost.

    One that runs waits again, for its scratch is kept; one that has got further stays where it
    is, held by nobody. Returns the state that the job is left in.
    """
    with db.transaction() as tx:
        job = check(tx, held)
        tx.record("job", job.id, "handed back", state=job.state, reason=reason)
        if job.state == "running":
            _queue_again(tx, job, reason, tx.now)
        else:
            _let_go(job, tx.now)
        tx.wake(job.id, job.model_id)
        return job.state


def fail(db: Database, held: Held, reason: str, settings: Settings, retry: bool = True) -> str:
    """Count a failed attempt: try again after a pause that doubles, or give it to a person.

    Returns the state that the job is left in.
    """
    with db.transaction() as tx:
        job = check(tx, held)
        job.attempts += 1
        job.error = reason
        tx.record("job", job.id, "attempt failed", attempt=job.attempts, reason=reason)
        tx.session.flush()
        if retry and job.attempts < settings.max_attempts:
            later = tx.now + timedelta(seconds=min(2.0**job.attempts, 300.0))
            if job.state in JOB_STOPPABLE:
                _queue_again(tx, job, reason, later)
            else:
                _let_go(job, later)
        else:
            give_to_person(tx, job, reason)
        return job.state


def _queue_again(tx: Transaction, job: Job, reason: str, later: datetime) -> None:
    """Back to the queue; nothing that was made is kept but scratch."""
    move(
        tx,
        job,
        "queued",
        reason=reason,
        if_fence=job.fence,
        owner=None,
        lease_until=None,
        candidate=None,
        not_before=later,
        progress=dict(jobs.NO_PROGRESS),
    )
    jobs.follow(tx, job)


def _let_go(job: Job, later: datetime) -> None:
    """Held by nobody, so that nothing runs before it for this model; taken over from `later`."""
    job.owner = None
    job.lease_until = later
    job.revision += 1


def give_to_person(tx: Transaction, job: Job, reason: str, **values: Any) -> None:
    """Stop trying: a reviewer decides, with the reason in words."""
    move(
        tx,
        job,
        "needs_review",
        reason=reason,
        error=reason,
        owner=None,
        lease_until=None,
        **values,
    )
    jobs.follow(tx, job, reason)
