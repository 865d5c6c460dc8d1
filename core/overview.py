"""What whoever keeps the service sees first: decisions, due dates, work under way, the weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, cast, func, literal, select
from sqlalchemy.orm import Session

from core import deadlines, facts, figures, registry, workers
from core.db import UtcDateTime, database_now
from core.figures import DAY
from core.records import ErasureRequest, Job
from core.states import JOB_HELD, REQUEST_OPEN

WEEKS = 12
SHOWN = 8
"""Rows of each list at most; the whole lists are pages of their own."""


@dataclass(frozen=True)
class Week:
    """Seven days from `begins` on: erasures completed, and the seconds that they took."""

    begins: datetime
    erased: int
    mean: float | None
    longest: float | None


@dataclass(frozen=True)
class Sight:
    """One moment. decisions: jobs in review; their number may be larger than the list's.

    due: open requests, soonest due first. running: jobs that a worker holds. waiting: jobs in
    the queue; oldest_waits: seconds that the first of them has waited.
    """

    now: datetime
    decisions: Sequence[facts.JobFacts]
    decisions_count: int
    due: Sequence[facts.RequestFacts]
    overdue: int
    due_soon: int
    open: int
    running: Sequence[facts.JobFacts]
    waiting: int
    oldest_waits: float
    workers: int
    models: Sequence[facts.ModelFacts]


def sight(session: Session, warning_days: float) -> Sight:
    """All but the weeks; `warning_days` says what is soon."""
    now = database_now(session)
    in_review = select(Job).where(Job.state == "needs_review").order_by(Job.due_at, Job.id)
    held = select(Job).where(Job.state.in_(JOB_HELD)).order_by(Job.due_at, Job.id)
    still_open = ErasureRequest.state.in_(REQUEST_OPEN)
    due = select(ErasureRequest).where(still_open).order_by(ErasureRequest.due_at)
    overdue = deadlines.due_before(session, now)
    return Sight(
        now=now,
        decisions=facts.of_jobs(session, session.scalars(in_review.limit(SHOWN)).all()),
        decisions_count=_count(session, Job, Job.state == "needs_review"),
        due=facts.of_requests(session, session.scalars(due.limit(SHOWN)).all()),
        overdue=overdue,
        due_soon=deadlines.due_before(session, now + timedelta(days=warning_days)) - overdue,
        open=_count(session, ErasureRequest, still_open),
        running=facts.of_jobs(session, session.scalars(held.limit(SHOWN)).all()),
        waiting=_count(session, Job, Job.state == "queued"),
        oldest_waits=figures.queue_age(session),
        workers=workers.alive(session),
        models=facts.of_models(session, registry.models(session)),
    )


def weeks(session: Session) -> list[Week]:
    """The last WEEKS weeks, the oldest first; the last one ends now."""
    began = database_now(session) - timedelta(weeks=WEEKS)
    completed = ErasureRequest.completed_at
    took = figures.seconds_between(session, ErasureRequest.received_at, completed)
    since = figures.seconds_between(session, literal(began, UtcDateTime()), completed)
    number = cast(func.floor(since / (7 * DAY)), Integer)
    query = (
        select(number, func.count(), func.avg(took), func.max(took))
        .where(completed >= began, ErasureRequest.outcome == "erased")
        .group_by(number)
    )
    found = {row[0]: row for row in session.execute(query).all()}
    return [
        Week(
            begins=began + timedelta(weeks=each),
            erased=int(found[each][1]) if each in found else 0,
            mean=float(found[each][2]) if each in found else None,
            longest=float(found[each][3]) if each in found else None,
        )
        for each in range(WEEKS)
    ]


def _count(session: Session, record: type[Any], condition: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).select_from(record).where(condition)).one()
