"""Erasure requests: read, extended, cancelled, refused. Taken in by core.intake."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, aliased

from core import jobs, refusals, registry
from core.db import Transaction
from core.errors import Conflict, Invalid, NotFound
from core.records import (
    Certificate,
    ErasureRequest,
    Job,
    JobRequest,
    RequestSample,
    Taint,
)
from core.refusals import LEGAL_HOLD, OTHER
from core.states import JOB_STOPPABLE, REQUEST, REQUEST_OPEN
from core.transitions import move


def get(session: Session, request_id: str, *, only: str | None = None) -> ErasureRequest:
    """The request; raises `NotFound`, also when it is of another model than `only` (an id)."""
    request = session.get(ErasureRequest, request_id)
    if request is None or only not in (None, request.model_id):
        raise no_request(request_id)
    return request


def no_request(request_id: str) -> NotFound:
    """What is raised where there is none, or none that the caller may see."""
    return NotFound(f"there is no erasure request {request_id}")


def listed(
    session: Session,
    *,
    status: str | None = None,
    model: str | None = None,
    only: str | None = None,
    overdue_at: datetime | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[ErasureRequest]:
    """Requests, newest first, at most `limit`, those older than the id `after`.

    `overdue_at` keeps open requests that were due before that moment; `only` (a model's id)
    those of the one model that the caller's key is for.
    """
    query = select(ErasureRequest).order_by(ErasureRequest.id.desc()).limit(limit)
    if status is not None:
        if status not in REQUEST.moves:
            raise Invalid(f"unknown status {status!r}; use {', '.join(REQUEST.moves)}")
        query = query.where(ErasureRequest.state == status)
    if model is not None:
        query = query.where(ErasureRequest.model_id == registry.model_named(session, model).id)
    if only is not None:
        query = query.where(ErasureRequest.model_id == only)
    if overdue_at is not None:
        query = query.where(
            ErasureRequest.due_at < overdue_at, ErasureRequest.state.in_(REQUEST_OPEN)
        )
    if after is not None:
        query = query.where(ErasureRequest.id < after)
    return list(session.scalars(query))


def job_ids_of_all(session: Session, request_ids: Collection[str]) -> dict[str, list[str]]:
    """The jobs that carry each request out, oldest first; those without a job are left out."""
    query = select(JobRequest.request_id, JobRequest.job_id)
    query = query.where(JobRequest.request_id.in_(request_ids)).order_by(JobRequest.job_id)
    found: dict[str, list[str]] = {}
    for request_id, job_id in session.execute(query):
        found.setdefault(request_id, []).append(job_id)
    return found


def calls_of(session: Session, job_id: str, most: int = 5) -> list[tuple[str, str | None]]:
    """X-Request-ID and traceparent of the calls that posted the job's first requests."""
    query = (
        select(ErasureRequest.call_id, ErasureRequest.traceparent)
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == job_id)
        .order_by(ErasureRequest.id)
        .limit(most)
    )
    found = session.execute(query).all()
    return [(call_id, traceparent) for call_id, traceparent in found if call_id is not None]


def certificate_of(session: Session, request_id: str, *, only: str | None = None) -> str:
    """The signed certificate as issued; raises `NotFound`, or `Conflict` while there is none."""
    request = get(session, request_id, only=only)
    found = session.get(Certificate, request_id)
    if found is None:
        raise Conflict(
            f"erasure request {request_id} is {request.state}; "
            "its certificate is issued when it is completed"
        )
    return found.document


def locked(tx: Transaction, request_id: str) -> ErasureRequest:
    """The request's row, locked and fresh; raises `NotFound`. Its jobs are locked before it."""
    query = select(ErasureRequest).where(ErasureRequest.id == request_id).with_for_update()
    request = tx.session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if request is None:
        raise no_request(request_id)
    return request


def locked_of(tx: Transaction, job_id: str) -> list[ErasureRequest]:
    """The requests that the job carries out, locked and fresh. The job is locked before them."""
    query = (
        select(ErasureRequest)
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == job_id)
        .order_by(ErasureRequest.id)
        .with_for_update(of=ErasureRequest)
        .execution_options(populate_existing=True)
    )
    return list(tx.session.scalars(query))


def _locked_jobs(tx: Transaction, request_ids: list[str]) -> list[Job]:
    """The jobs that carry these requests out, locked; their models are, so that none joins."""
    query = select(Job.id, Job.model_id).join(JobRequest, JobRequest.job_id == Job.id)
    found = tx.session.execute(query.where(JobRequest.request_id.in_(request_ids))).all()
    for model_id in sorted({model_id for _, model_id in found}):
        registry.lock_model(tx, model_id)
    return [jobs.locked(tx, job_id) for job_id in sorted({job_id for job_id, _ in found})]


def extend(tx: Transaction, request_id: str, due_at: datetime, reason: str) -> ErasureRequest:
    """Move the due date of an open request later, for a stated reason."""
    carrying = _locked_jobs(tx, [request_id])
    request = locked(tx, request_id)
    if request.state not in REQUEST_OPEN:
        raise Conflict(f"erasure request {request_id} is {request.state}: nothing is due any more")
    if due_at <= request.due_at:
        raise Invalid(f"due_at must lie after {request.due_at.isoformat()}")
    tx.record(
        "erasure_request",
        request.id,
        "extended",
        due_at=due_at.isoformat(),
        before=request.due_at.isoformat(),
        reason=reason,
    )
    request.due_at, request.warned = due_at, None
    for job in carrying:
        jobs.reschedule(tx, job.id)
    return request


def end(
    tx: Transaction, request_id: str, to: str, reason: str, *, refusal: str = OTHER
) -> ErasureRequest:
    """Cancel or reject a request (`to` is "cancelled" or "rejected", for one of core.refusals).

    A job that it alone asked for ends too: at once while queued, at its next step while it
    runs (the request then ends with it). Raises `Conflict` once a job has published, and for
    a request that runs together with others.
    """
    return end_all(tx, [request_id], to, reason, refusals.check(refusal))[0]


def cancel_job(tx: Transaction, job_id: str, reason: str, *, only: str | None = None) -> Job:
    """Cancel a job, and with it the requests that it carries out, as `end` does.

    Raises `Conflict` once the job has published, or has ended, and when it carries out requests
    for another model than `only` (an id).
    """
    job = jobs.get(tx.session, job_id, only=only)
    if job.state in ("succeeded", "failed", "cancelled"):
        raise Conflict(f"job {job_id} is {job.state} already")
    if any(only not in (None, each.model_id) for each in jobs.requests_of(tx.session, job_id)):
        raise Conflict(f"job {job_id} carries out requests for another model too")
    carried = jobs.request_ids(tx.session, job_id)
    end_all(tx, carried, "cancelled", reason)
    if jobs.request_ids(tx.session, job_id) != carried:
        raise Conflict(f"another request joined job {job_id} meanwhile; look again and retry")
    return jobs.locked(tx, job_id)


def end_all(
    tx: Transaction, request_ids: list[str], to: str, reason: str, refusal: str = OTHER
) -> list[ErasureRequest]:
    """`end` for several at once: all, or none."""
    carrying = _locked_jobs(tx, request_ids)
    ending = {request_id: locked(tx, request_id) for request_id in sorted(request_ids)}
    for request in ending.values():
        if (request.state, to) == ("in_progress", "rejected") and refusal != LEGAL_HOLD:
            raise Conflict(
                f"erasure_request {request.id} is in_progress and cannot become rejected but by "
                "a legal hold: cancel it"
            )
        REQUEST.check(request.id, request.state, to)
    stopping: set[str] = set()
    for job in carrying:
        carried = set(jobs.request_ids(tx.session, job.id))
        alone = carried <= ending.keys()
        waiting = job.state in ("queued", "needs_review", "failed") and job.published_at is None
        if waiting and alone:
            if job.state != "failed":  # failed is an end already
                move(tx, job, "cancelled", reason=reason, finished_at=tx.now)
        elif waiting:
            tx.session.execute(
                delete(JobRequest).where(
                    JobRequest.job_id == job.id, JobRequest.request_id.in_(ending)
                )
            )
            jobs.reschedule(tx, job.id)
        elif job.state in JOB_STOPPABLE and alone:
            jobs.ask_to_stop(tx, job)
            stopping |= carried
        elif job.state != "cancelled":
            raise Conflict(
                f"job {job.id} is {job.state}"
                + ("" if alone else " for several requests")
                + "; it can no longer be stopped for this one"
            )
    for request in ending.values():
        if request.id in stopping:
            request.outcome, request.reason = to, reason
            request.refusal = refusal if to == "rejected" else None
            tx.record("erasure_request", request.id, f"to be {to}", reason=reason)
        else:
            finish(tx, request, to, reason, refusal=refusal)
    return list(ending.values())


def finish(
    tx: Transaction, request: ErasureRequest, to: str, reason: str, *, refusal: str | None = None
) -> None:
    """End a request that will not be carried out: nothing needs to be forgotten for it.

    refusal: one of core.refusals, where it is rejected; else what was decided before.
    """
    refused = (refusal or request.refusal or OTHER) if to == "rejected" else None
    if refused:
        tx.record("erasure_request", request.id, "refused", refusal=refused)
    move(tx, request, to, reason=reason, outcome=to, refusal=refused, completed_at=tx.now)
    request.reason = reason
    tx.session.execute(delete(Taint).where(Taint.request_id == request.id))
    tx.session.execute(delete(RequestSample).where(RequestSample.request_id == request.id))


def jobs_of(session: Session, request_id: str) -> list[Job]:
    """The jobs that carry the request out, oldest first."""
    query = (
        select(Job)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .where(JobRequest.request_id == request_id)
    )
    return list(session.scalars(query.order_by(Job.id)))


def jobs_beside(session: Session, job_id: str) -> dict[str, list[Job]]:
    """By request that the job carries out: all jobs that do, oldest first.

    Each job is read once, with its evidence, however many requests it carries.
    """
    mine = aliased(JobRequest)
    query = (
        select(JobRequest.request_id, JobRequest.job_id)
        .join(mine, mine.request_id == JobRequest.request_id)
        .where(mine.job_id == job_id)
    )
    pairs = session.execute(query.order_by(JobRequest.job_id)).all()
    ids = {each for _, each in pairs}
    every = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}
    found: dict[str, list[Job]] = {}
    for request_id, of_job in pairs:
        found.setdefault(request_id, []).append(every[of_job])
    return found
