"""Legal holds: samples that may not be erased until somebody releases them.

A hold names a person, kept as a keyed hash, or samples, kept by their keys. While it is in force,
requests that would erase any of it are refused at once; open ones are refused when it is placed.
Both lock the data set's models, so that neither slips past the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from core import registry, requests, rotation
from core.backend import Backend
from core.db import Transaction
from core.deciding import decided_by
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from core.inserting import insert_all
from core.records import ErasureRequest, HeldSample, LegalHold, Model, RequestSample, Subject
from core.refusals import LEGAL_HOLD
from core.states import REQUEST_OPEN


@dataclass(frozen=True)
class NewHold:
    """What must be kept: the samples of one subject, or the samples named; and why."""

    model: str
    reason: str
    subject_id: str | None = None
    sample_ids: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `Invalid` unless this can be held."""
        if bool(self.subject_id) == bool(self.sample_ids):
            raise Invalid("give either subject_id or sample_ids, not both and not neither")


def place(backend: Backend, new: NewHold, *, key_id: str | None = None) -> LegalHold:
    """Put a hold in force, and refuse the open requests that would erase what it covers.

    Raises `NotFound` for an unknown model, `Invalid` for unknown samples, `Conflict` when a
    request can no longer be stopped: what it names is being erased.
    """
    new.check()
    with backend.db.reading() as session:
        dataset_id = registry.model_named(session, new.model).dataset_id
    keys = _keys_of(backend, dataset_id, new.sample_ids)
    owners = backend.samples.subjects_of(dataset_id, keys)
    with backend.db.transaction() as tx:
        model, _ = registry.models_locked(tx, new.model)
        rotation.check(tx.session, backend.identities)
        hashed = backend.identities.subject(new.subject_id).raw if new.subject_id else None
        hold = LegalHold(
            id=new_id("hold"),
            model_id=model.id,
            dataset_id=dataset_id,
            subject_hash=hashed,
            sample_count=len(keys),
            reason=new.reason,
            key_id=key_id,
            placed_at=tx.now,
        )
        if hashed is not None:
            hold.subject_id, hold.sample_count = _subject(tx.session, dataset_id, hashed)
        tx.session.add(hold)
        tx.session.flush()
        insert_all(
            tx.session,
            [HeldSample(hold_id=hold.id, key=key, subject_id=owners[key]) for key in keys],
        )
        count = hold.sample_count
        tx.record("legal_hold", hold.id, "placed", model=model.id, samples=count, reason=new.reason)
        for request_id in _open_requests(tx.session, backend, hold, owners):
            requests.end(tx, request_id, "rejected", why(hold), refusal=LEGAL_HOLD)
        decided_by(tx, key_id)
    return hold


def release(tx: Transaction, hold_id: str, reason: str, *, only: str | None = None) -> LegalHold:
    """End a hold; raises `NotFound`, or `Conflict` for one that was released before."""
    query = select(LegalHold).where(LegalHold.id == hold_id).with_for_update()
    hold = tx.session.scalars(query).one_or_none()
    if hold is None or only not in (None, hold.model_id):
        raise NotFound(f"there is no legal hold {hold_id}")
    if hold.released_at is not None:
        raise Conflict(f"legal hold {hold_id} was released already")
    hold.released_at, hold.release_reason = tx.now, reason
    tx.record("legal_hold", hold.id, "released", reason=reason)
    return hold


def listed(
    session: Session,
    *,
    in_force: bool = False,
    only: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[tuple[LegalHold, str]]:
    """Holds and the names of their models, newest first, at most `limit`, older than `after`.

    `only` (a model's id) keeps those of the one model that the caller's key is for.
    """
    query = select(LegalHold, Model.name).join(Model, Model.id == LegalHold.model_id)
    query = query.order_by(LegalHold.id.desc()).limit(limit)
    if in_force:
        query = query.where(LegalHold.released_at.is_(None))
    if only is not None:
        query = query.where(LegalHold.model_id == only)
    if after is not None:
        query = query.where(LegalHold.id < after)
    return [(hold, name) for hold, name in session.execute(query)]


def why(hold: LegalHold) -> str:
    """What a request that a hold refuses has as its reason."""
    return f"legal hold {hold.id} covers what this request names"


_IN_FORCE = (
    select(LegalHold)
    .where(LegalHold.dataset_id == bindparam("dataset_id"), LegalHold.released_at.is_(None))
    .order_by(LegalHold.id)
)


class InForce:
    """The holds of one data set, looked up once for all requests of a transaction."""

    def __init__(self, session: Session, backend: Backend, dataset_id: str) -> None:
        self._session, self._backend, self._dataset_id = session, backend, dataset_id
        found = session.scalars(_IN_FORCE, {"dataset_id": dataset_id})
        self._holds = {hold.id: hold for hold in found}

    def covering(
        self, subject_hash: str | None, subject_id: int | None, keys: Sequence[int]
    ) -> LegalHold | None:
        """One that covers some of what a request names."""
        if not self._holds:
            return None
        of_person = [
            hold
            for hold in self._holds.values()
            if subject_hash is not None and hold.subject_hash == subject_hash
        ]
        if of_person:
            return of_person[0]
        query = select(HeldSample.hold_id).where(HeldSample.hold_id.in_(self._holds))
        owners = set() if subject_id is None else {subject_id}
        if keys:
            query = query.where(HeldSample.key.in_(keys))
            owners = set(self._backend.samples.subjects_of(self._dataset_id, keys).values())
        else:
            query = query.where(HeldSample.subject_id == subject_id)
        found = self._session.scalars(query.limit(1)).first()
        if found is not None:
            return self._holds[found]
        numbers = self._numbers()
        return next((hold for number, hold in numbers.items() if number in owners), None)

    def _numbers(self) -> dict[int, LegalHold]:
        """Held persons by their number now: a person may have got samples since."""
        hashes = {hold.subject_hash: hold for hold in self._holds.values() if hold.subject_hash}
        query = select(Subject).where(
            Subject.dataset_id == self._dataset_id, Subject.raw_hash.in_(hashes)
        )
        return {each.id: hashes[each.raw_hash] for each in self._session.scalars(query)}


def _keys_of(backend: Backend, dataset_id: str, sample_ids: Collection[str]) -> list[int]:
    found = backend.samples.find_sample_ids(dataset_id, sample_ids) if sample_ids else {}
    unknown = [name for name in dict.fromkeys(sample_ids) if name not in found]
    if unknown:
        raise Invalid(
            f"{len(unknown)} samples are not in the model's data set",
            [{"where": "sample_ids", "message": f"unknown: {name}"} for name in unknown[:100]],
        )
    return sorted(found.values())


def _subject(session: Session, dataset_id: str, hashed: str) -> tuple[int | None, int]:
    query = select(Subject).where(Subject.dataset_id == dataset_id, Subject.raw_hash == hashed)
    subject = session.scalars(query).one_or_none()
    return (subject.id, subject.sample_count) if subject else (None, 0)


def _open_requests(
    session: Session, backend: Backend, hold: LegalHold, owners: dict[int, int]
) -> list[str]:
    """Requests, not ended yet, that would erase something of what the hold covers."""
    keys, people = list(owners), set(owners.values())
    if hold.subject_id is not None:
        keys = backend.samples.keys_of_subjects(hold.dataset_id, [hold.subject_id]).tolist()
        people = {hold.subject_id}
    named = select(RequestSample.request_id).where(RequestSample.key.in_(keys))
    query = select(ErasureRequest.id).where(
        ErasureRequest.dataset_id == hold.dataset_id,
        ErasureRequest.state.in_(REQUEST_OPEN),
        or_(ErasureRequest.id.in_(named), ErasureRequest.subject_id.in_(people)),
    )
    return list(session.scalars(query.order_by(ErasureRequest.id)))
