"""Deliveries of callbacks: what is due, one attempt at a time, given up in the end, replayed.

An attempt is written down before it is made. A process that ends between sending and recording
leaves one without an end, and the message is sent again, with the same id, once its time is up:
a receiver may see a message twice, and never not at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import webhooks
from core.backend import Backend
from core.db import Database, Transaction, database_now
from core.errors import Invalid, NotFound, SettingsError
from core.points import reached
from core.records import Delivery, DeliveryAttempt, ErasureRequest
from core.states import DELIVERY
from core.transitions import move

_MINUTE, _HOUR = 60.0, 3600.0
PAUSES = (5.0, 30.0, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, *(8 * _HOUR,) * 8)
"""Seconds before each further attempt: three days in all."""

JITTER = 0.2
"""Each pause is up to so much longer or shorter, so that what failed together comes back apart."""

UNDER_WAY_SECONDS = 30.0
"""An attempt that has not ended after so long has no process that makes it any more."""

GONE = 410
"""The status by which a receiver says that it wants no more (Standard Webhooks)."""


@dataclass(frozen=True)
class Attempt:
    """One attempt under way: what is sent where, and how it is signed."""

    delivery_id: str
    number: int
    request_id: str | None
    opendsr_id: str | None
    url: str
    payload: str
    headers: dict[str, str]
    unsigned: str | None = None
    """Why it cannot be signed, and so not be sent."""


def due(db: Database, most: int) -> list[tuple[str, str]]:
    """Ids and URLs of messages whose time has come, in the order in which to send them."""
    with db.reading() as session:
        query = select(Delivery.id, Delivery.url).where(
            Delivery.state == "pending", Delivery.next_at <= database_now(session)
        )
        found = session.execute(query.order_by(Delivery.next_at, Delivery.id).limit(most))
        return [(delivery_id, url) for delivery_id, url in found]


def begin(backend: Backend, delivery_id: str) -> Attempt | None:
    """Write an attempt down and sign it; None when the message is not due (any more)."""
    with backend.db.transaction() as tx:
        query = (
            update(Delivery)
            .where(
                Delivery.id == delivery_id,
                Delivery.state == "pending",
                Delivery.next_at <= tx.now,
            )
            .values(
                tries=Delivery.tries + 1,
                attempts=Delivery.attempts + 1,
                next_at=tx.now + timedelta(seconds=UNDER_WAY_SECONDS),
            )
            .returning(Delivery)
        )
        found = tx.session.scalars(query, execution_options={"synchronize_session": False})
        delivery = found.one_or_none()
        if delivery is None:
            return None
        number = delivery.attempts
        tx.session.add(DeliveryAttempt(delivery_id=delivery.id, number=number, at=tx.now))
        try:
            headers, unsigned = _signed(tx, backend, delivery), None
        except SettingsError as error:
            headers, unsigned = {}, str(error)
        attempt = Attempt(
            delivery.id,
            number,
            delivery.request_id,
            delivery.opendsr_id,
            delivery.url,
            delivery.payload,
            headers,
            unsigned,
        )
    reached("callback:begun")
    return attempt


def _signed(tx: Transaction, backend: Backend, delivery: Delivery) -> dict[str, str]:
    if delivery.request_id is None:
        if backend.opendsr is None:
            raise SettingsError("this worker lacks LETHE_OPENDSR_URL, and what goes with it")
        version = delivery.form.removeprefix("opendsr/")
        headers = backend.opendsr.headers(delivery.payload.encode(), version)
        return {"Content-Type": "application/json", "User-Agent": "lethe", **headers}
    request = tx.session.get_one(ErasureRequest, delivery.request_id)
    secrets = webhooks.secrets_in_force(tx.session, backend.identities, request.key_id, tx.now)
    return webhooks.headers(secrets, delivery.id, delivery.payload, tx.now)


def end(db: Database, attempt: Attempt, status: int | None, error: str | None) -> str:
    """Write down how an attempt ended; returns the message's state.

    Anything but a 2xx is tried again after a pause, until there is none left.
    """
    with db.transaction() as tx:
        delivery = _locked(tx, attempt.delivery_id)
        tried = tx.session.get_one(DeliveryAttempt, (attempt.delivery_id, attempt.number))
        tried.ended_at, tried.status, tried.error = tx.now, status, error
        if delivery.state != "pending":
            return delivery.state  # another attempt was faster
        if status is not None and 200 <= status < 300:
            move(tx, delivery, "delivered", ended_at=tx.now)
        elif status == GONE or delivery.tries > len(PAUSES):
            move(tx, delivery, "given_up", ended_at=tx.now)
        else:
            delivery.next_at = tx.now + pause_after(delivery.tries)
        return delivery.state


def pause_after(tries: int) -> timedelta:
    """How long to wait after so many attempts in vain."""
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # spreads load, hides nothing
    return timedelta(seconds=PAUSES[tries - 1] * spread)


def replay(tx: Transaction, delivery_id: str, *, only: str | None = None) -> Delivery:
    """Send a message again at once, under the same id, however it stood; raises `NotFound`.

    Likewise for one of another model than `only` (an id).
    """
    delivery = _locked(tx, delivery_id)
    request = tx.session.get(ErasureRequest, delivery.request_id) if delivery.request_id else None
    if only is not None and (request is None or request.model_id != only):
        raise NotFound(f"there is no delivery {delivery_id}")
    if delivery.state == "pending":
        tx.record("delivery", delivery.id, "hurried")
    else:
        move(tx, delivery, "pending", reason="replayed", ended_at=None)
    delivery.tries, delivery.next_at = 0, tx.now
    return delivery


def listed(
    session: Session,
    *,
    request_id: str | None = None,
    status: str | None = None,
    only: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """Messages, newest first, at most `limit`, those older than the id `after`.

    `only` (a model's id) keeps those of the one model that the caller's key is for.
    """
    query = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    if only is not None:
        query = query.join(ErasureRequest, ErasureRequest.id == Delivery.request_id)
        query = query.where(ErasureRequest.model_id == only)
    if request_id is not None:
        query = query.where(Delivery.request_id == request_id)
    if status is not None:
        if status not in DELIVERY.moves:
            raise Invalid(f"unknown status {status!r}; use {', '.join(DELIVERY.moves)}")
        query = query.where(Delivery.state == status)
    if after is not None:
        query = query.where(Delivery.id < after)
    return list(session.scalars(query))


def attempts_of(session: Session, ids: list[str]) -> dict[str, list[DeliveryAttempt]]:
    """By message, every attempt, the oldest first."""
    query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(ids))
    found: dict[str, list[DeliveryAttempt]] = {each: [] for each in ids}
    for attempt in session.scalars(query.order_by(DeliveryAttempt.number)):
        found[attempt.delivery_id].append(attempt)
    return found


def counts(session: Session) -> dict[str, int]:
    """How many messages there are, by state."""
    query = select(Delivery.state, func.count()).group_by(Delivery.state)
    return dict(session.execute(query).all())


def _locked(tx: Transaction, delivery_id: str) -> Delivery:
    query = select(Delivery).where(Delivery.id == delivery_id).with_for_update()
    found = tx.session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return found
