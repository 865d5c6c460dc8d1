"""Intake of erasure requests: the request, its jobs and their audit events, at once."""

from __future__ import annotations

import calendar
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import canaries, certificates, datasets, enlist, registry, requests
from core.backend import Backend
from core.db import Transaction
from core.errors import Conflict, Invalid
from core.ids import new_id
from core.points import reached
from core.records import (
    Dataset,
    ErasureRequest,
    Idempotency,
    Model,
    RequestSample,
    Subject,
)
from core.states import JOB_HELD
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
class Call:
    """The call that posted a request: its X-Request-ID, and its span where traces are kept."""

    id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Repeat:
    """The keyed hash of an Idempotency-Key, the digest of its body, how an answer is written."""

    value: str
    body_digest: str
    render: Callable[[ErasureRequest, list[str]], str]


@dataclass(frozen=True)
class Submitted:
    """A request that was taken in, or the answer once given to the same key and body."""

    request: ErasureRequest
    job_ids: list[str]
    replayed: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it was posted: what is asked for, by whose key, in which call."""

    new: NewRequest
    key_id: str | None = None
    repeat: Repeat | None = None
    call: Call = Call()


def submit(
    backend: Backend, new: NewRequest, *, key_id: str | None, repeat: Repeat | None = None
) -> Submitted:
    """`take_in` for callers that have no call to tell of."""
    return take_in(backend, Asked(new, key_id, repeat))


def take_in(backend: Backend, asked: Asked) -> Submitted:
    """Take a request in: the request, its jobs and their audit events in one transaction.

    Raises `NotFound` for an unknown model, `Invalid` for unknown samples (naming them),
    `Conflict` for an Idempotency-Key that came with another body.
    """
    try:
        return take_all_in(backend, [asked])[0]
    except IntegrityError:
        if asked.repeat is None:
            raise
    # Another took the same Idempotency-Key in the same moment: answer as it was answered.
    return take_all_in(backend, [asked])[0]


def take_all_in(backend: Backend, all_asked: Sequence[Asked]) -> list[Submitted]:
    """Take these requests in, all in one transaction or none; raises what any one raises."""
    ready: list[tuple[Asked, list[int]] | Submitted] = [_prepared(backend, a) for a in all_asked]
    if all(isinstance(each, Submitted) for each in ready):
        return [each for each in ready if isinstance(each, Submitted)]
    with backend.db.transaction() as tx:
        locked: _Locked = {}
        done = [
            each if isinstance(each, Submitted) else _submit(tx, backend, *each, locked)
            for each in ready
        ]
        reached("intake:before-commit")
    return done


def _prepared(backend: Backend, asked: Asked) -> tuple[Asked, list[int]] | Submitted:
    asked.new.check()
    if asked.repeat is not None and asked.key_id is not None:
        with backend.db.reading() as session:  # before the samples are looked for: they may be gone
            answered = _answered(session, asked.key_id, asked.repeat)
        if answered is not None:
            return answered
    return asked, _keys_of(backend, asked.new)


def _keys_of(backend: Backend, new: NewRequest) -> list[int]:
    """Keys of the samples named; the sample store is read before any lock is taken."""
    if not new.sample_ids:
        return []
    with backend.db.reading() as session:
        dataset_id = registry.model_named(session, new.model).dataset_id
    wanted = list(dict.fromkeys(new.sample_ids))
    people = [sample_id for sample_id in wanted if not sample_id.startswith(canaries.PREFIX)]
    found = backend.samples.find_sample_ids(dataset_id, people)
    unknown = [sample_id for sample_id in wanted if sample_id not in found]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise Invalid(
            f"{len(unknown)} of {len(wanted)} samples are not in the model's data set: {shown}",
            [{"where": "sample_ids", "message": f"unknown: {name}"} for name in unknown[:100]],
        )
    return [found[sample_id] for sample_id in wanted]


_Locked = dict[str, tuple[Model, list[Model]]]
"""By name: a model that is locked, and all that were trained on its data set, locked too."""


def _models_locked(tx: Transaction, name: str, locked: _Locked) -> tuple[Model, list[Model]]:
    if name not in locked:
        model = registry.model_named(tx.session, name)
        models = datasets.models_of(tx.session, model.dataset_id)
        for each in models:
            registry.lock_model(tx, each.id)
        locked[name] = model, models
    return locked[name]


def _submit(
    tx: Transaction, backend: Backend, asked: Asked, keys: list[int], locked: _Locked
) -> Submitted:
    new, key_id, repeat = asked.new, asked.key_id, asked.repeat
    if repeat is not None and key_id is not None:
        answered = _answered(tx.session, key_id, repeat)
        if answered is not None:
            return answered
    model, models = _models_locked(tx, new.model, locked)
    request = _receive(tx, backend, new, model, keys, key_id, asked.call)
    job_ids: list[str] = []
    if request.sample_count == 0:
        _nothing_found(tx, backend, request, model)
    else:
        strategy = new.strategy or DEFAULT_STRATEGY
        # The model asked for gets a job even if it serves nothing: the samples must go.
        enlisted = [
            enlist.enlist(tx, backend.settings, each, request, strategy)
            for each in models
            if each.id == model.id or registry.serving(tx.session, each.id) is not None
        ]
        job_ids = sorted(job.id for job in enlisted)
        move(tx, request, "scheduled")
        if any(job.state in JOB_HELD for job in enlisted):
            move(tx, request, "in_progress")  # it joined a job that runs already
    tx.session.flush()
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
    return Submitted(request, requests.job_ids_of(session, request.id), earlier.answer)


def _receive(
    tx: Transaction,
    backend: Backend,
    new: NewRequest,
    model: Model,
    keys: list[int],
    key_id: str | None,
    call: Call,
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
        call_id=call.id,
        traceparent=call.traceparent,
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
