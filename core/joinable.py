"""The jobs that are there already and that a new request may join."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from core.db import Transaction
from core.records import ErasureRequest, Job, JobRequest, Model, RequestSample, Subject
from core.settings import Settings
from core.states import JOB_HELD

COUNTED_SECONDS = 60.0
"""So long a count of a data set's samples is good enough: it may take a second."""


@dataclass
class Gathering:
    """A queued job that takes more requests still: how many it has, and of how many samples."""

    job: Job
    requests: int
    samples: int


def _open_jobs(model: Model) -> Select[Job]:
    return (
        select(Job)
        .where(
            Job.model_id == model.id,
            Job.state.in_(("queued", *JOB_HELD)),
            Job.cancel_requested.is_(False),
        )
        .order_by(Job.id)
        .with_for_update(of=Job)
        .execution_options(populate_existing=True)
    )


_ASKED_FOR = (
    select(JobRequest.job_id, ErasureRequest.subject_id, ErasureRequest.sample_count)
    .join(ErasureRequest, ErasureRequest.id == JobRequest.request_id)
    .where(ErasureRequest.subject_id.in_(bindparam("subject_ids", expanding=True)))
    .order_by(JobRequest.job_id)
)


def of_subjects(
    session: Session, model: Model, subject_ids: Collection[int]
) -> dict[int, list[tuple[Job, int]]]:
    """By subject: unfinished jobs, locked, that erase its samples, and how many it had then.

    Whose requests there are is asked first: mostly there is none, and a model's open jobs may
    be thousands.
    """
    found: dict[int, list[tuple[Job, int]]] = {}
    if not subject_ids:
        return found
    asked_for = session.execute(_ASKED_FOR, {"subject_ids": list(subject_ids)}).all()
    if not asked_for:
        return found
    named = _open_jobs(model).where(Job.id.in_({job_id for job_id, _, _ in asked_for}))
    open_jobs = {job.id: job for job in session.scalars(named)}
    for job_id, subject_id, count in asked_for:
        if subject_id is not None and job_id in open_jobs:
            found.setdefault(subject_id, []).append((open_jobs[job_id], count))
    return found


def covering_samples(model: Model, request: ErasureRequest) -> Select[Job]:
    wanted = select(RequestSample.key).where(RequestSample.request_id == request.id)
    covered = (
        select(func.count())
        .select_from(RequestSample)
        .where(RequestSample.request_id == ErasureRequest.id, RequestSample.key.in_(wanted))
        .scalar_subquery()
    )
    return (
        _open_jobs(model)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .join(ErasureRequest, ErasureRequest.id == JobRequest.request_id)
        .where(covered == request.sample_count)
        .limit(1)
    )


def gathering(tx: Transaction, settings: Settings, model: Model) -> list[Gathering]:
    """Queued jobs, locked, that gather still."""
    if not settings.batch_seconds:
        return []
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
    query = (
        select(Job, gathered, named)
        .where(
            Job.model_id == model.id,
            Job.kind == "erase",
            Job.state == "queued",
            Job.attempts == 0,
            Job.not_before > tx.now,
            gathered < settings.batch_requests,
        )
        .order_by(Job.id)
        .with_for_update(of=Job)
        .execution_options(populate_existing=True)
    )
    return [Gathering(*row) for row in tx.session.execute(query)]


_sizes: dict[str, tuple[float, int]] = {}
"""By data set: when its samples were counted last (monotonic), and how many there were."""


def most_samples(session: Session, settings: Settings, model: Model) -> float:
    """How many samples a job may erase without a reviewer, as of the last `COUNTED_SECONDS`.

    A job that turns out to be larger still waits for a person: see core.limits.
    """
    counted, there = _sizes.get(model.dataset_id, (-math.inf, 0))
    if time.monotonic() - counted >= COUNTED_SECONDS:
        query = select(func.coalesce(func.sum(Subject.sample_count), 0))
        there = session.scalar(query.where(Subject.dataset_id == model.dataset_id)) or 0
        _sizes[model.dataset_id] = time.monotonic(), there
    return settings.review_share * there
