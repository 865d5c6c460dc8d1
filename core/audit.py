"""The audit chain: every transition appends an event whose hash covers the one before.

hash = SHA-256(previous hash || canonical JSON of the event), so that a changed, dropped or
inserted row breaks the chain at that row (Haber and Stornetta, "How to time-stamp a digital
document", J. Cryptology 1991). No event names a person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.db import Transaction
from core.inserting import insert_rows
from core.records import AuditEvent, AuditHead

GENESIS = "0" * 64
"""The hash before the first event."""

_HEAD = select(AuditHead.seq, AuditHead.hash).with_for_update()


def canonical(document: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: equal documents, equal bytes."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as hashed and as shown."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_hash(
    previous: str, seq: int, at: datetime, noun: str, noun_id: str, event: str, data: dict[str, Any]
) -> str:
    """SHA-256, hex, of one event chained to the hash before it."""
    body = [seq, timestamp(at), noun, noun_id, event, data]
    return hashlib.sha256(previous.encode() + canonical(body)).hexdigest()


def chain(tx: Transaction) -> None:
    """Append the transaction's events. The head's row lock makes writers take turns.

    Called last in a transaction, so that the lock is held for the commit alone.
    """
    if not tx.events:
        return
    head = tx.session.execute(_HEAD).one_or_none()
    if head is None:  # the very first event: of two first writers one makes the row
        tx.session.execute(
            text(
                "INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, :hash) ON CONFLICT DO NOTHING"
            ),
            {"hash": GENESIS},
        )
        head = tx.session.execute(_HEAD).one()
    seq, last = head
    rows = []
    for pending in tx.events:
        seq += 1
        digest = event_hash(
            last, seq, tx.now, pending.noun, pending.noun_id, pending.event, pending.data
        )
        rows.append(
            {
                "seq": seq,
                "at": tx.now,
                "noun": pending.noun,
                "noun_id": pending.noun_id,
                "event": pending.event,
                "data": pending.data,
                "previous": last,
                "hash": digest,
            }
        )
        last = digest
    insert_rows(tx.session, AuditEvent, rows)
    tx.session.execute(update(AuditHead).values(seq=seq, hash=last))


@dataclass(frozen=True)
class ChainReport:
    """What a walk over the chain found; `broken_at` is the first bad sequence number."""

    events: int
    head: str
    broken_at: int | None = None
    reason: str | None = None


def verify_chain(session: Session) -> ChainReport:
    """Recompute every hash from the first event on and name the first break.

    The session must see one moment throughout, as those of `Database.reading()` do: else
    events that are appended meanwhile would look like missing ones.
    """
    previous, count = GENESIS, 0
    for row in _rows(session):
        count += 1
        if row is None:
            return ChainReport(count, previous, count, f"event {count} was changed: it is garbled")
        if row.seq != count:
            return ChainReport(count, previous, count, f"event {count} is missing")
        if row.previous != previous:
            return ChainReport(count, previous, count, f"event {count} does not follow {count - 1}")
        found = event_hash(previous, row.seq, row.at, row.noun, row.noun_id, row.event, row.data)
        if found != row.hash:
            return ChainReport(count, previous, count, f"event {count} was changed")
        previous = row.hash
    head = session.scalars(select(AuditHead)).one_or_none()
    if (head.seq, head.hash) != (count, previous) if head else count != 0:
        return ChainReport(count, previous, count + 1, f"events after {count} are missing")
    return ChainReport(count, previous)


def _rows(session: Session) -> Iterator[AuditEvent | None]:
    """Every event in order, many at a time; None for one whose columns cannot be read."""
    query, last = select(AuditEvent).order_by(AuditEvent.seq), 0
    try:
        for row in session.scalars(query).yield_per(1000):
            last = row.seq
            yield row
    except (ValueError, DBAPIError) as error:
        _reraise_unless_garbled(error)
    else:
        return
    try:  # again, one by one, to find out which it is
        yield from session.scalars(query.where(AuditEvent.seq > last)).yield_per(1)
    except (ValueError, DBAPIError) as error:
        _reraise_unless_garbled(error)
        yield None


def _reraise_unless_garbled(error: ValueError | DBAPIError) -> None:
    """A value that is no JSON, no time or no text was changed; a database that fails was not."""
    if isinstance(error, DBAPIError) and "decode" not in str(error.orig):
        raise error


def head_of(session: Session) -> tuple[int, str]:
    """Sequence number and hash of the newest event."""
    head = session.scalars(select(AuditHead)).one_or_none()
    return (head.seq, head.hash) if head else (0, GENESIS)


_HISTORY = (
    select(AuditEvent)
    .where(AuditEvent.noun == bindparam("noun"), AuditEvent.noun_id == bindparam("noun_id"))
    .order_by(AuditEvent.seq)
)


def history(session: Session, noun: str, noun_id: str) -> list[AuditEvent]:
    """The events of one thing, oldest first."""
    return list(session.scalars(_HISTORY, {"noun": noun, "noun_id": noun_id}))
