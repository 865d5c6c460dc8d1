"""Erasure requests: taken in, cancelled, extended, refused, read."""

from __future__ import annotations

import calendar
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import certificates, datasets, jobs, registry
from core.backend import Backend
from core.db import Transaction
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from core.records import (
    Certificate,
    Dataset,
    ErasureRequest,
    Idempotency,
    Job,
    JobRequest,
    Model,
    RequestSample,
    Subject,
    Taint,
)
from core.states import JOB_HELD, JOB_STOPPABLE, REQUEST, REQUEST_OPEN
from core.transitions import move

DEFAULT_STRATEGY = "rfu_ss"
STRATEGIES = (DEFAULT_STRATEGY, "rfu_ss_paper", "retrain")
"""How a job may make a model forget. The names are those of `unlearning`."""


@dataclass(frozen=True)
class NewRequest:
    """What a caller asks for: the samples of one subject, or the samples named."""

    model: str
    subject_id: str | None = None
    sample_ids: tuple[str, ...] = ()
    external_id: str | None = None
    regulation: str | None = None
    callback_url: str | None = None
    strategy: str | None = None

    def check(self) -> None:
        """Raise `Invalid` unless this can be asked for at all."""
        if bool(self.subject_id) == bool(self.sample_ids):
            raise Invalid("give either subject_id or sample_ids, not both and not neither")
        if self.strategy is not None and self.strategy not in STRATEGIES:
            raise Invalid(f"unknown strategy {self.strategy!r}; use {', '.join(STRATEGIES)}")


@dataclass(frozen=True)
class Repeat:
    """An Idempotency-Key, the digest of the body it came with, and how an answer is written."""

    value: str
    body_digest: str
    render: Callable[[ErasureRequest, list[str]], str]


@dataclass(frozen=True)
class Submitted:
    """A request that was taken in, or the answer once given to the same key and body."""

    request: ErasureRequest
    job_ids: list[str]
    replayed: str | None = None


def submit(
    backend: Backend, new: NewRequest, *, key_id: str | None, repeat: Repeat | None = None
) -> Submitted:
    """Take a request in: the request, its jobs and their audit events in one transaction.

    Raises `NotFound` for an unknown model, `Invalid` for unknown samples (naming them),
    `Conflict` for an Idempotency-Key that came with another body.
    """
    new.check()
    if repeat is not None and key_id is not None:
        with backend.db.reading() as session:  # before the samples are looked for: they may be gone
            answered = _answered(session, key_id, repeat)
        if answered is not None:
            return answered
    keys = _keys_of(backend, new)
    try:
        with backend.db.transaction() as tx:
            return _submit(tx, backend, new, keys, key_id, repeat)
    except IntegrityError:
        if repeat is None:
            raise
    # Another took the same Idempotency-Key in the same moment: answer as it was answered.
    with backend.db.transaction() as tx:
        return _submit(tx, backend, new, keys, key_id, repeat)


def _keys_of(backend: Backend, new: NewRequest) -> list[int]:
    """Keys of the samples named; the sample store is read before any lock is taken."""
    if not new.sample_ids:
        return []
    with backend.db.reading() as session:
        dataset_id = registry.model_named(session, new.model).dataset_id
    wanted = list(dict.fromkeys(new.sample_ids))
    found = backend.samples.find_sample_ids(dataset_id, wanted)
    unknown = [sample_id for sample_id in wanted if sample_id not in found]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise Invalid(
            f"{len(unknown)} of {len(wanted)} samples are not in the model's data set: {shown}",
            [{"where": "sample_ids", "message": f"unknown: {name}"} for name in unknown[:100]],
        )
    return [found[sample_id] for sample_id in wanted]


def _submit(
    tx: Transaction,
    backend: Backend,
    new: NewRequest,
    keys: list[int],
    key_id: str | None,
    repeat: Repeat | None,
) -> Submitted:
    if repeat is not None and key_id is not None:
        answered = _answered(tx.session, key_id, repeat)
        if answered is not None:
            return answered
    model = registry.model_named(tx.session, new.model)
    models = datasets.models_of(tx.session, model.dataset_id)
    for each in models:
        registry.lock_model(tx, each.id)
    request = _receive(tx, backend, new, model, keys, key_id)
    if request.sample_count == 0:
        _nothing_found(tx, backend, request, model)
    else:
        strategy = new.strategy or DEFAULT_STRATEGY
        enlisted = [
            jobs.enlist(tx, backend.settings, each, request, strategy)
            for each in models
            if registry.serving(tx.session, each.id) is not None
        ]
        move(tx, request, "scheduled")
        if any(job.state in JOB_HELD for job in enlisted):
            move(tx, request, "in_progress")  # it joined a job that runs already
    tx.session.flush()
    job_ids = job_ids_of(tx.session, request.id)
    if repeat is not None and key_id is not None:
        tx.session.add(
            Idempotency(
                key_id=key_id,
                value=repeat.value,
                body_digest=repeat.body_digest,
                request_id=request.id,
                answer=repeat.render(request, job_ids),
                created_at=tx.now,
            )
        )
    return Submitted(request, job_ids)


def _answered(session: Session, key_id: str, repeat: Repeat) -> Submitted | None:
    """What was answered to this Idempotency-Key; raises `Conflict` for another body."""
    earlier = session.get(Idempotency, (key_id, repeat.value))
    if earlier is None:
        return None
    if not hmac.compare_digest(earlier.body_digest, repeat.body_digest):
        raise Conflict("this Idempotency-Key was used with another body; use a new one")
    request = session.get_one(ErasureRequest, earlier.request_id)
    return Submitted(request, job_ids_of(session, request.id), earlier.answer)


def _receive(
    tx: Transaction,
    backend: Backend,
    new: NewRequest,
    model: Model,
    keys: list[int],
    key_id: str | None,
) -> ErasureRequest:
    request_id = new_id("er")
    subject = hashed = commitment = None
    if new.subject_id:
        hashed = backend.identities.subject(new.subject_id).raw
        commitment = backend.identities.commitment(request_id, new.subject_id)
        subject = tx.session.scalars(
            select(Subject).where(
                Subject.dataset_id == model.dataset_id, Subject.raw_hash == hashed
            )
        ).one_or_none()
    request = ErasureRequest(
        id=request_id,
        model_id=model.id,
        dataset_id=model.dataset_id,
        state="received",
        subject_id=subject.id if subject else None,
        subject_hash=hashed,
        commitment=commitment,
        sample_count=len(keys) if keys else (subject.sample_count if subject else 0),
        external_id=new.external_id,
        regulation=new.regulation,
        strategy=new.strategy,
        callback_url=new.callback_url,
        key_id=key_id,
        received_at=tx.now,
        due_at=a_month_after(tx.now),
    )
    tx.session.add(request)
    tx.session.flush()
    tx.session.add_all(RequestSample(request_id=request.id, key=key) for key in keys)
    tx.record(
        "erasure_request", request.id, "received", model=model.id, samples=request.sample_count
    )
    return request


def _nothing_found(
    tx: Transaction, backend: Backend, request: ErasureRequest, model: Model
) -> None:
    move(tx, request, "completed", outcome="no_data_found", completed_at=tx.now)
    dataset = tx.session.get_one(Dataset, request.dataset_id)
    certificates.issue(tx, backend.signer, request, dataset.name, {model.name: None})


def a_month_after(moment: datetime) -> datetime:
    """The same day of the next month, or its last (GDPR art. 12(3): one month)."""
    year, month = divmod(moment.year * 12 + moment.month, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def get(session: Session, request_id: str) -> ErasureRequest:
    """The request; raises `NotFound`."""
    request = session.get(ErasureRequest, request_id)
    if request is None:
        raise NotFound(f"there is no erasure request {request_id}")
    return request


def listed(
    session: Session,
    *,
    status: str | None = None,
    model: str | None = None,
    overdue_at: datetime | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[ErasureRequest]:
    """Requests, newest first, at most `limit`, those older than the id `after`.

    `overdue_at` keeps open requests that were due before that moment.
    """
    query = select(ErasureRequest).order_by(ErasureRequest.id.desc()).limit(limit)
    if status is not None:
        if status not in REQUEST.moves:
            raise Invalid(f"unknown status {status!r}; use {', '.join(REQUEST.moves)}")
        query = query.where(ErasureRequest.state == status)
    if model is not None:
        query = query.where(ErasureRequest.model_id == registry.model_named(session, model).id)
    if overdue_at is not None:
        query = query.where(
            ErasureRequest.due_at < overdue_at, ErasureRequest.state.in_(REQUEST_OPEN)
        )
    if after is not None:
        query = query.where(ErasureRequest.id < after)
    return list(session.scalars(query))


def job_ids_of(session: Session, request_id: str) -> list[str]:
    """The jobs that carry the request out, oldest first."""
    query = select(JobRequest.job_id).where(JobRequest.request_id == request_id)
    return list(session.scalars(query.order_by(JobRequest.job_id)))


def certificate_of(session: Session, request_id: str) -> str:
    """The signed certificate as issued; raises `NotFound`, or `Conflict` while there is none."""
    request = get(session, request_id)
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
        raise NotFound(f"there is no erasure request {request_id}")
    return request


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
    request.due_at = due_at
    for job in carrying:
        jobs.reschedule(tx, job.id)
    return request


def end(tx: Transaction, request_id: str, to: str, reason: str) -> ErasureRequest:
    """Cancel or reject a request (`to` is "cancelled" or "rejected").

    A job that it alone asked for ends too: at once while queued, at its next step while it
    runs (the request then ends with it). Raises `Conflict` once a job has published, and for
    a request that runs together with others.
    """
    return _end_all(tx, [request_id], to, reason)[0]


def cancel_job(tx: Transaction, job_id: str, reason: str) -> Job:
    """Cancel a job, and with it the requests that it carries out, as `end` does.

    Raises `Conflict` once the job has published, or has ended.
    """
    job = jobs.get(tx.session, job_id)
    if job.state in ("succeeded", "failed", "cancelled"):
        raise Conflict(f"job {job_id} is {job.state} already")
    carried = jobs.request_ids(tx.session, job_id)
    _end_all(tx, carried, "cancelled", reason)
    if jobs.request_ids(tx.session, job_id) != carried:
        raise Conflict(f"another request joined job {job_id} meanwhile; look again and retry")
    return jobs.locked(tx, job_id)


def _end_all(tx: Transaction, request_ids: list[str], to: str, reason: str) -> list[ErasureRequest]:
    carrying = _locked_jobs(tx, request_ids)
    ending = {request_id: locked(tx, request_id) for request_id in sorted(request_ids)}
    for request in ending.values():
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
            tx.record("erasure_request", request.id, f"to be {to}", reason=reason)
        else:
            finish(tx, request, to, reason)
    return list(ending.values())


def finish(tx: Transaction, request: ErasureRequest, to: str, reason: str) -> None:
    """End a request that will not be carried out: nothing needs to be forgotten for it."""
    move(tx, request, to, reason=reason, outcome=to, completed_at=tx.now)
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
