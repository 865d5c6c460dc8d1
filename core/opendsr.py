"""Requests by OpenDSR: one of them erases a person from every data set that knows the person.

A request names somebody by some identities, plain or hashed. Each is held against the subjects of
every data set; each subject found becomes an erasure request on a model trained on that data set,
which covers the data set's other models too. Neither body nor identities are kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import datasets, opendsr_state, requests
from core.asked import Asked, Call, NewRequest
from core.backend import Backend
from core.book import Book
from core.db import Transaction
from core.deadlines import a_month_after
from core.deciding import asked_by
from core.errors import Conflict, Invalid, NotFound
from core.ids import new_id
from core.records import Model, OpenDsrRequest, Subject

IDENTITY_TYPES = (
    "controller_customer_id",
    "android_advertising_id",
    "android_id",
    "email",
    "fire_advertising_id",
    "ios_advertising_id",
    "ios_vendor_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "roku_publisher_id",
    "roku_advertising_id",
)
"""OpenDSR 5.1. Subjects have no types here: an identity is looked for whatever its type."""

FORMATS = {"raw": 0, "md5": 32, "sha1": 40, "sha256": 64}
"""OpenDSR 5.2, and how many hexadecimal digits each has."""

MOST_IDENTITIES, MOST_URLS = 100, 10


@dataclass(frozen=True)
class Identity:
    """One name of a person: the value as it came, and its format."""

    value: str
    format: str


@dataclass(frozen=True)
class NewOpenDsrRequest:
    """What a controller asks for. models: only these, and what shares their data sets; none: all.

    body: the whole body's bytes, in one canonical form; only a keyed digest is kept.
    """

    subject_request_id: str
    identities: tuple[Identity, ...]
    submitted_at: datetime
    version: str
    domain: str
    body: bytes
    regulation: str | None = None
    callback_urls: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def take_in(
    backend: Backend, new: NewOpenDsrRequest, key_id: str, call: Call | None = None
) -> OpenDsrRequest:
    """Take a request in, whole or not at all; the same one again is answered as it was.

    Raises `Conflict` when its number was used with another body; `Invalid` for a model that is
    not there, a malformed hash, or a callback URL that would not be called.
    """
    digest = backend.identities.body(new.body)
    with backend.db.reading() as session:
        known = _known(session, new, key_id, digest)
    if known is not None:
        return known
    for i, url in enumerate(new.callback_urls):
        backend.outbound.check_named(url, f"status_callback_urls.{i}")
    try:
        with backend.db.transaction() as tx:
            return _enter(tx, backend, new, key_id, digest, call or Call())
    except IntegrityError:  # another took the same number in the same moment
        with backend.db.reading() as session:
            known = _known(session, new, key_id, digest)
        if known is None:
            raise
        return known


def get(session: Session, key_id: str, subject_request_id: str) -> OpenDsrRequest:
    """The request of this controller with this number; raises `NotFound`."""
    found = session.scalars(_query(key_id, subject_request_id)).one_or_none()
    if found is None:
        raise NotFound("there is no request with this subject_request_id from this controller")
    return found


def cancel(tx: Transaction, key_id: str, subject_request_id: str) -> OpenDsrRequest:
    """Withdraw a request that is pending still; one that is cancelled stays as it is.

    Raises `NotFound`, and `Conflict` once it has begun (OpenDSR 9).
    """
    record = get(tx.session, key_id, subject_request_id)
    if record.state == "cancelled":
        return record
    if record.state != "pending":
        raise Conflict(f"the request is {record.state}: only one that is pending can be cancelled")
    waiting = [
        each.id
        for each in opendsr_state.erasures_of(tx.session, record.id)
        if each.state in opendsr_state.NOT_BEGUN
    ]
    requests.end_all(tx, waiting, "cancelled", "withdrawn by OpenDSR")
    return record


def _query(key_id: str, subject_request_id: str) -> Select[OpenDsrRequest]:
    return select(OpenDsrRequest).where(
        OpenDsrRequest.key_id == key_id, OpenDsrRequest.subject_request_id == subject_request_id
    )


def _known(
    session: Session, new: NewOpenDsrRequest, key_id: str, digest: str
) -> OpenDsrRequest | None:
    found = session.scalars(_query(key_id, new.subject_request_id)).one_or_none()
    if found is not None and not hmac.compare_digest(found.body_digest, digest):
        raise Conflict("this subject_request_id was used with another body; use a new one")
    return found


def _enter(
    tx: Transaction,
    backend: Backend,
    new: NewOpenDsrRequest,
    key_id: str,
    digest: str,
    call: Call,
) -> OpenDsrRequest:
    found = _found(tx.session, backend, new)
    models = _models(tx, {subject.dataset_id for subject, _ in found}, new.models)
    covered = {model.dataset_id for model in models}
    uncovered = {subject.dataset_id for subject, _ in found} - covered
    record = OpenDsrRequest(
        id=new_id("dsr"),
        key_id=key_id,
        subject_request_id=new.subject_request_id,
        body_digest=digest,
        version=new.version,
        domain=new.domain,
        regulation=new.regulation,
        state="received",
        callback_urls=list(dict.fromkeys(new.callback_urls)),
        uncovered=sorted(d.name for d in datasets.datasets(tx.session) if d.id in uncovered),
        submitted_at=new.submitted_at,
        received_at=tx.now,
        due_at=a_month_after(tx.now),
    )
    tx.session.add(record)
    tx.session.flush()
    told = {"subjects": len(found)}
    tx.record("opendsr_request", record.id, "received", **told, **asked_by(key_id))
    for model in models:
        asked = [
            Asked(_erasure(model, subject, named, new), key_id, call=call, opendsr_id=record.id)
            for subject, named in found
            if subject.dataset_id == model.dataset_id
        ]
        book = Book(tx, backend, asked)
        for each in asked:
            book.enter(each, [])
        book.store()
    # Also when nothing was found, and no erasure request will move it.
    tx.finals[record.id] = partial(opendsr_state.follow, tx, record.id)
    return record


def _erasure(model: Model, subject: Subject, named: Identity, new: NewOpenDsrRequest) -> NewRequest:
    return NewRequest(
        model=model.name,
        subject_hash=subject.raw_hash,
        subject_named=named.value,
        external_id=new.subject_request_id,
        regulation=new.regulation,
    )


def _found(
    session: Session, backend: Backend, new: NewOpenDsrRequest
) -> list[tuple[Subject, Identity]]:
    """The subjects that these identities name, each once, with the first that names it."""
    found: dict[int, tuple[Subject, Identity]] = {}
    for identity in new.identities:
        column = getattr(Subject, f"{identity.format}_hash")
        keyed = backend.identities.named(identity.value, identity.format)
        for subject in session.scalars(select(Subject).where(column == keyed)):
            found.setdefault(subject.id, (subject, identity))
    if not new.models:
        return list(found.values())
    known = dict(session.execute(select(Model.name, Model.dataset_id)).all())
    unknown = sorted(set(new.models) - known.keys())
    if unknown:
        raise Invalid(
            f"there is no model {unknown[0]!r}",
            [{"where": "extensions", "message": f"there is no model {name!r}"} for name in unknown],
        )
    wanted = {known[name] for name in new.models}
    return [each for each in found.values() if each[0].dataset_id in wanted]


def _models(tx: Transaction, dataset_ids: set[str], named: Sequence[str]) -> list[Model]:
    """One model of each data set, one that was named if there is; all of them are locked, in the
    order of their locks.
    """
    query = select(Model).where(Model.dataset_id.in_(dataset_ids)).order_by(Model.id)
    of: dict[str, Model] = {}
    for model in tx.session.scalars(query.with_for_update()):
        before = of.get(model.dataset_id)
        if before is None or (model.name in named and before.name not in named):
            of[model.dataset_id] = model
    return list(of.values())
