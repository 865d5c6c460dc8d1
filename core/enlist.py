"""Enlisting: the job by which a model will forget what a request names."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import jobs, registry
from core.db import Transaction
from core.ids import new_id
from core.limits import MOST_SHARE
from core.records import ErasureRequest, Job, JobRequest, Model, RequestSample, Subject
from core.settings import Settings
from core.states import JOB_HELD


def enlist(
    tx: Transaction, settings: Settings, model: Model, request: ErasureRequest, strategy: str
) -> Job:
    """The job by which `model` will forget what `request` names. The model's row must be locked.

    It joins a job that is erasing these very samples already, or a queued one for the model
    that still gathers (LETHE_BATCH_SECONDS), or gets its own. The job's row is locked, so that
    it neither ends nor is cancelled before the request belongs to it.
    """
    job = _covering(tx.session, model, request)
    job = job or _gathering(tx, settings, model, request, strategy)
    if job is None:
        job = _new_job(tx, settings, model, request, strategy)
    tx.session.add(JobRequest(job_id=job.id, request_id=request.id))
    # The candidate of a job that covers the request has forgotten its samples already.
    registry.taint(tx, model.id, request.id, made_by_other_than=job.id)
    if job.due_at > request.due_at:
        job.due_at = request.due_at
    tx.record("job", job.id, "joined", request=request.id)
    tx.wake(job.id)
    return job


def _new_job(
    tx: Transaction, settings: Settings, model: Model, request: ErasureRequest, strategy: str
) -> Job:
    job = _queue(
        tx,
        model,
        "erase",
        strategy,
        due_at=request.due_at,
        not_before=tx.now + timedelta(seconds=settings.batch_seconds),
        audit_retrain=model.audit_next,
    )
    model.audit_next = False
    return job


def enlist_retraining(tx: Transaction, model: Model, reason: str) -> Job | None:
    """Queue an exact retraining that no request asks for: the drift budget is spent.

    It is due in a month; until then erasures go first. None when one is queued or runs already.
    The model's row must be locked.
    """
    waiting = select(Job.id).where(
        Job.model_id == model.id, Job.kind == "retrain", Job.state.in_(("queued", *JOB_HELD))
    )
    if tx.session.scalars(waiting).first() is not None:
        return None
    later = tx.now + timedelta(days=30)
    job = _queue(tx, model, "retrain", "retrain", due_at=later, not_before=tx.now)
    tx.record("job", job.id, "asked for by the drift budget", limit=reason)
    tx.wake(job.id)
    return job


def _queue(
    tx: Transaction,
    model: Model,
    kind: str,
    strategy: str,
    *,
    due_at: datetime,
    not_before: datetime,
    audit_retrain: bool = False,
) -> Job:
    job = Job(
        id=new_id("job"),
        model_id=model.id,
        kind=kind,
        state="queued",
        strategy=strategy,
        seed=new_seed(),
        revision=1,
        progress=dict(jobs.NO_PROGRESS),
        attempts=0,
        takeovers=0,
        rung=0,
        fence=0,
        cancel_requested=False,
        audit_retrain=audit_retrain,
        not_before=not_before,
        due_at=due_at,
        queued_at=tx.now,
    )
    tx.session.add(job)
    tx.session.flush()
    tx.record("job", job.id, "queued", model=model.id, strategy=strategy)
    return job


def new_seed() -> int:
    """A fresh seed for a job, on record with it: the job can be run again to the same bits."""
    return secrets.randbits(31)


def _covering(session: Session, model: Model, request: ErasureRequest) -> Job | None:
    """An unfinished job, locked, that erases a superset of what the request names."""
    open_jobs = (
        select(Job)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .join(ErasureRequest, ErasureRequest.id == JobRequest.request_id)
        .where(
            Job.model_id == model.id,
            Job.state.in_(("queued", *JOB_HELD)),
            Job.cancel_requested.is_(False),
        )
        .order_by(Job.id)
        .limit(1)
        .with_for_update(of=Job)
        .execution_options(populate_existing=True)
    )
    if request.subject_id is not None:
        query = open_jobs.where(
            ErasureRequest.subject_id == request.subject_id,
            ErasureRequest.sample_count >= request.sample_count,
        )
        return session.scalars(query).first()
    wanted = select(RequestSample.key).where(RequestSample.request_id == request.id)
    covered = (
        select(func.count())
        .select_from(RequestSample)
        .where(RequestSample.request_id == ErasureRequest.id, RequestSample.key.in_(wanted))
        .scalar_subquery()
    )
    return session.scalars(open_jobs.where(covered == request.sample_count)).first()


def _gathering(
    tx: Transaction, settings: Settings, model: Model, request: ErasureRequest, strategy: str
) -> Job | None:
    """A queued job, locked, that gathers still, and with the request needs no reviewer's eye."""
    if not settings.batch_seconds:
        return None
    gathered = (
        select(func.count())
        .select_from(JobRequest)
        .where(JobRequest.job_id == Job.id)
        .scalar_subquery()
    )
    named = (
        select(func.coalesce(func.sum(ErasureRequest.sample_count), 0))
        .join(JobRequest, JobRequest.request_id == ErasureRequest.id)
        .where(JobRequest.job_id == Job.id)
        .scalar_subquery()
    )
    there = (
        select(func.coalesce(func.sum(Subject.sample_count), 0))
        .where(Subject.dataset_id == model.dataset_id)
        .scalar_subquery()
    )
    query = (
        select(Job)
        .where(
            Job.model_id == model.id,
            Job.state == "queued",
            Job.attempts == 0,
            Job.strategy == strategy,
            Job.not_before > tx.now,
            gathered < settings.batch_requests,
            named + request.sample_count <= MOST_SHARE * there,
        )
        .order_by(Job.id)
        .limit(1)
        .with_for_update()
    )
    return tx.session.scalars(query).first()
