"""Enlisting: the jobs by which a model will forget what requests name."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select

from core import jobs, registry
from core.db import Transaction
from core.ids import new_id
from core.inserting import follow, insert_all
from core.joinable import Gathering, covering_samples, gathering, most_samples, of_subjects
from core.records import ErasureRequest, Job, JobRequest, Model, Taint
from core.settings import Settings
from core.states import JOB_HELD


class Enlisting:
    """The jobs by which `model` will forget what the requests of one transaction name.

    A request joins a job that is erasing these very samples already, or a queued one for the
    model that still gathers (LETHE_BATCH_SECONDS), or gets its own. Jobs that were there are
    locked, so that they neither end nor are cancelled before the request belongs to them. The
    model's row must be locked. subject_ids: of the requests to come that name a subject.
    share: let these requests share jobs in any case, they came in one call.
    """

    def __init__(
        self,
        tx: Transaction,
        settings: Settings,
        model: Model,
        subject_ids: Collection[int],
        *,
        share: bool = False,
    ) -> None:
        self._tx, self._settings, self._model = tx, settings, model
        self._of_subjects = of_subjects(tx.session, model, subject_ids)
        self._gather = gathering(tx, settings, model)
        self._shares = share or settings.batch_seconds > 0
        self._most = most_samples(tx.session, settings, model) if self._shares else 0.0
        self._new: list[Job] = []
        self._joined: dict[str, Job] = {}
        """By request, those that are not stored yet."""

    def enlist(self, request: ErasureRequest, strategy: str) -> Job:
        """The job that will carry `request` out; `store` must follow.

        A request that names samples must be stored, with all that was enlisted before it.
        """
        job = self._covering(request) or self._gathered(request, strategy)
        if job is None:
            job = self._new_job(request, strategy)
        if request.subject_id is not None:
            self._of_subjects.setdefault(request.subject_id, []).append((job, request.sample_count))
        if job.due_at > request.due_at:
            job.due_at = request.due_at
        self._tx.record("job", job.id, "joined", request=request.id)
        self._joined[request.id] = job
        return job

    def store(self) -> None:
        """Write what was enlisted."""
        insert_all(self._tx.session, *self.unwritten())
        self.written()

    def unwritten(self) -> tuple[list[Job], list[JobRequest], list[Taint]]:
        """What is to be inserted after the requests; `written` must follow."""
        carried_by = {request_id: job.id for request_id, job in self._joined.items()}
        links = [JobRequest(job_id=job_id, request_id=each) for each, job_id in carried_by.items()]
        # The candidate of a job that covers the request has forgotten its samples already.
        return self._new, links, registry.taints_by(self._tx.session, self._model.id, carried_by)

    def written(self) -> None:
        """It is inserted: wake one worker, which wakes the next while there is more."""
        follow(self._tx.session, self._new)
        if self._joined:
            self._tx.wake(next(reversed(self._joined.values())).id, self._model.id)
        self._new = []
        self._joined.clear()

    def _covering(self, request: ErasureRequest) -> Job | None:
        """An unfinished job, locked, that erases a superset of what the request names."""
        if request.subject_id is None:
            return self._tx.session.scalars(covering_samples(self._model, request)).first()
        known = self._of_subjects.get(request.subject_id, ())
        return next((job for job, count in known if count >= request.sample_count), None)

    def _gathered(self, request: ErasureRequest, strategy: str) -> Job | None:
        """One that gathers still, and with the request needs no reviewer's eye."""
        for each in self._gather:
            samples = each.samples + request.sample_count
            full = each.requests >= self._settings.batch_requests or samples > self._most
            if each.job.strategy == strategy and not full:
                each.requests, each.samples = each.requests + 1, samples
                if each.requests == self._settings.batch_requests:
                    each.job.not_before = self._tx.now  # it is full: nothing more to wait for
                return each.job
        return None

    def _new_job(self, request: ErasureRequest, strategy: str) -> Job:
        job = _queue(
            self._tx,
            self._model,
            "erase",
            strategy,
            due_at=request.due_at,
            not_before=self._gathers_until(request.due_at),
            audit_retrain=self._model.audit_next,
        )
        self._model.audit_next = False
        self._new.append(job)
        if self._shares:
            self._gather.append(Gathering(job, 1, request.sample_count))
        return job

    def _gathers_until(self, due_at: datetime) -> datetime:
        """Half of the time there is at most, so that gathering alone makes nothing late."""
        window = timedelta(seconds=self._settings.batch_seconds)
        return self._tx.now + min(window, max(timedelta(), (due_at - self._tx.now) / 2))


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
    tx.session.add(job)
    tx.record("job", job.id, "asked for by the drift budget", limit=reason)
    tx.wake(job.id, model.id)
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
    tx.record("job", job.id, "queued", model=model.id, strategy=strategy)
    return job


def new_seed() -> int:
    """A fresh seed for a job, on record with it: the job can be run again to the same bits."""
    return secrets.randbits(31)
