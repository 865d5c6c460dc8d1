"""Due dates that come near or pass: each is warned of once, in the log and the audit chain."""

from __future__ import annotations

import calendar
import logging
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from core.db import Database, Transaction, database_now
from core.records import ErasureRequest
from core.states import REQUEST_OPEN

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Warnings in one transaction, so that nobody waits long for the audit chain."""


def a_month_after(moment: datetime) -> datetime:
    """The same day of the next month, or its last (GDPR art. 12(3): one month)."""
    year, month = divmod(moment.year * 12 + moment.month, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


LONGEST_GATHERING = 14 * 86_400.0
"""Half of the shortest month: what a job may gather for at the most; see core.enlist."""


def gathers_too_long(batch_seconds: float) -> str | None:
    """Why a batch window cannot be in time, in words; None for one that can."""
    if batch_seconds <= LONGEST_GATHERING:
        return None
    return (
        f"LETHE_BATCH_SECONDS={batch_seconds:g} is longer than half of the month within which a "
        "request is due: jobs begin after that half, and little time is left for them"
    )


def warn(db: Database, days: float) -> int:
    """Warn of open requests that are due within `days`, and again of those that are overdue.

    Returns how many warnings were given; an extension makes room for new ones.
    """
    with db.reading() as session:
        due = _unwarned(database_now(session), days)
        if session.scalars(select(ErasureRequest.id).where(due).limit(1)).first() is None:
            return 0
    with db.transaction() as tx:
        warned = _warn(tx, days)
    for request_id, level, due_at, state in warned:
        log.warning(
            "an erasure request is overdue" if level == "overdue" else "a due date comes near",
            extra={"erasure_request": request_id, "due_at": due_at.isoformat(), "state": state},
        )
    return len(warned)


def _warn(tx: Transaction, days: float) -> list[tuple[str, str, datetime, str]]:
    found = (
        select(ErasureRequest)
        .where(_unwarned(tx.now, days))
        .order_by(ErasureRequest.id)
        .limit(AT_ONCE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    warned = []
    for request in tx.session.scalars(found).all():
        level = "overdue" if request.due_at < tx.now else "soon"
        request.warned = level
        event = "overdue" if level == "overdue" else "due soon"
        tx.record("erasure_request", request.id, event, due_at=request.due_at.isoformat())
        warned.append((request.id, level, request.due_at, request.state))
    return warned


def _unwarned(now: datetime, days: float) -> ColumnElement[bool]:
    soon = now + timedelta(days=days)
    return and_(
        ErasureRequest.state.in_(REQUEST_OPEN),
        or_(
            and_(ErasureRequest.due_at < soon, ErasureRequest.warned.is_(None)),
            and_(
                ErasureRequest.due_at < now,
                or_(ErasureRequest.warned.is_(None), ErasureRequest.warned != "overdue"),
            ),
        ),
    )


def nearest(session: Session) -> datetime | None:
    """The soonest due date of an open request."""
    query = select(func.min(ErasureRequest.due_at))
    return session.scalars(query.where(ErasureRequest.state.in_(REQUEST_OPEN))).one()


def due_before(session: Session, moment: datetime) -> int:
    """How many open requests are due before this moment."""
    query = select(func.count()).select_from(ErasureRequest)
    open_ones = ErasureRequest.state.in_(REQUEST_OPEN)
    return session.scalars(query.where(open_ones, ErasureRequest.due_at < moment)).one()
