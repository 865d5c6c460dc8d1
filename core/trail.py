"""The audit chain as people read it: filtered, a page at a time, exported line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from core.audit import canonical, timestamp
from core.records import AuditEvent

NOUNS = (
    "erasure_request",
    "job",
    "version",
    "model",
    "dataset",
    "certificate",
    "delivery",
    "legal_hold",
    "opendsr_request",
    "key",
    "secret",
)
"""What events are about, for a front end to offer; `Wanted` takes any."""

LONGEST = timedelta(minutes=2)
"""No transaction lasts so long (see core.db): the order of events and that of their times differ
by less."""

AT_ONCE = 1000


@dataclass(frozen=True)
class Wanted:
    """Which events: of one noun, of one thing, of one kind, from `since` on, before `until`."""

    noun: str | None = None
    noun_id: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> list[AuditEvent]:
    """The newest events, at most `limit`, with sequence numbers below `before`."""
    query = _chosen(session, wanted)
    if query is None:
        return []
    if before is not None:
        query = query.where(AuditEvent.seq < before)
    return list(session.scalars(query.order_by(AuditEvent.seq.desc()).limit(limit)))


def exported(session: Session, wanted: Wanted) -> Iterator[bytes]:
    """Every such event, oldest first, each a line of canonical JSON, hashes included.

    Whoever has all lines can check the chain without us: see core.audit.
    """
    query = _chosen(session, wanted)
    if query is None:
        return
    # By key, not with a cursor: a slow reader holds no query open.
    last = 0
    while True:
        rows = session.scalars(
            query.where(AuditEvent.seq > last).order_by(AuditEvent.seq).limit(AT_ONCE)
        ).all()
        if not rows:
            return
        yield b"".join(line(row) for row in rows)
        last = rows[-1].seq
        session.expunge_all()


def line(row: AuditEvent) -> bytes:
    """One event as it was hashed, and the hashes."""
    return (
        canonical(
            {
                "seq": row.seq,
                "at": timestamp(row.at),
                "noun": row.noun,
                "noun_id": row.noun_id,
                "event": row.event,
                "data": row.data,
                "previous": row.previous,
                "hash": row.hash,
            }
        )
        + b"\n"
    )


def _chosen(session: Session, wanted: Wanted) -> Select[AuditEvent] | None:
    """The query; None when the chain has nothing in that time.

    Times are turned into bounds on the sequence number first: events are read in its order, and
    a filter on the time alone would read every event that is newer than those wanted.
    """
    query = select(AuditEvent)
    columns = (AuditEvent.noun, AuditEvent.noun_id, AuditEvent.event)
    for column, value in zip(columns, (wanted.noun, wanted.noun_id, wanted.event), strict=True):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        first = session.scalar(select(func.min(AuditEvent.at)).where(AuditEvent.at >= wanted.since))
        if first is None:
            return None
        near = AuditEvent.at >= first, AuditEvent.at <= first + LONGEST
        lowest = select(func.min(AuditEvent.seq)).where(*near).scalar_subquery()
        query = query.where(AuditEvent.seq >= lowest, AuditEvent.at >= wanted.since)
    if wanted.until is not None:
        last = session.scalar(select(func.max(AuditEvent.at)).where(AuditEvent.at < wanted.until))
        if last is None:
            return None
        near = AuditEvent.at >= last - LONGEST, AuditEvent.at <= last
        highest = select(func.max(AuditEvent.seq)).where(*near).scalar_subquery()
        query = query.where(AuditEvent.seq <= highest, AuditEvent.at < wanted.until)
    return query
