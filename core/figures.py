"""What metrics and health count: facts of the records, the same from whichever process asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, extract, func, literal_column, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from core import claims, deadlines, workers
from core.db import database_now
from core.records import AuditEvent, ErasureRequest, Job, Model, Version
from core.states import JOB_HELD

HOUR, DAY = 3600.0, 86_400.0
BUCKETS = (60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)
"""Upper bounds, in seconds, of the histogram of times to erasure."""


@dataclass(frozen=True)
class Standing:
    """What whoever runs Lethe must know at once."""

    workers: int
    waiting: int
    overdue: int
    pressing: int = 0
    unserved: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """In words; empty while all is well."""
        found = []
        if not self.workers:
            jobs = f" and {_count(self.waiting, 'job waits', 'jobs wait')}" if self.waiting else ""
            found.append(f"no worker is running{jobs}: start one with `lethe worker`")
        if self.overdue:
            requests = _count(self.overdue, "erasure request is", "erasure requests are")
            found.append(f"{requests} overdue: GET /erasure-requests?overdue=true lists them")
        if self.pressing and not self.overdue:
            jobs = _count(self.pressing, "queued job is", "queued jobs are")
            found.append(
                f"{jobs} due before all that is queued may be done by one worker: due dates go "
                "before fair shares now; start more workers"
            )
        return found + list(self.unserved)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def standing(session: Session) -> Standing:
    """Workers alive, jobs that wait for one, requests that are overdue."""
    query = select(func.count()).select_from(Job).where(Job.state == "queued")
    now, offers = database_now(session), workers.offers(session)
    waiting = session.scalars(query).one()
    return Standing(
        len(offers),
        waiting,
        deadlines.due_before(session, now),
        claims.pressing(session, now) if waiting else 0,
        tuple(claims.unserved(session, offers)) if waiting and offers else (),
    )


def phases(session: Session) -> dict[str, int]:
    """Jobs that are held, by the phase that they report."""
    phase = Job.progress["phase"].as_string()
    query = select(phase, func.count()).where(Job.state.in_(JOB_HELD)).group_by(phase)
    return dict(session.execute(query).all())


def queue_age(session: Session) -> float:
    """Seconds that the oldest queued job has waited; 0 without one."""
    oldest = session.scalars(select(func.min(Job.queued_at)).where(Job.state == "queued")).one()
    return 0.0 if oldest is None else (database_now(session) - oldest).total_seconds()


@dataclass(frozen=True)
class Times:
    """Seconds from receipt to completion: how many are within each of BUCKETS, how many, sum."""

    within: tuple[int, ...]
    count: int
    total: float


def erasure_times(session: Session) -> Times:
    """Of every request that was completed with something erased."""
    seconds = seconds_between(session, ErasureRequest.received_at, ErasureRequest.completed_at)
    within = [func.coalesce(func.sum(case((seconds <= bound, 1), else_=0)), 0) for bound in BUCKETS]
    query: Select[Any] = select(*within, func.count(), func.coalesce(func.sum(seconds), 0.0)).where(
        ErasureRequest.state == "completed", ErasureRequest.outcome == "erased"
    )
    *counts, count, total = tuple(session.execute(query).one())
    return Times(tuple(int(each) for each in counts), int(count), float(total))


def seconds_between(session: Session, began: Any, ended: Any) -> ColumnElement[Any]:
    """Between two columns of times, in whichever database it is."""
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(ended) - func.julianday(began)) * DAY
    return extract("epoch", ended - began)


def verdicts(session: Session) -> dict[str, int]:
    """Jobs by the verdict of their last verification."""
    verdict = Job.verification["verdict"].as_string()
    query = select(verdict, func.count()).where(verdict.is_not(None)).group_by(verdict)
    return dict(session.execute(query).all())


def gate_verdicts(session: Session) -> dict[tuple[str, ...], int]:
    """Jobs by gate, the gate's test, and its verdict in the last verification."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    gates: FunctionElement[Any]
    field: Any
    if sqlite:
        gates, field = func.json_each(Job.verification, "$.gates"), func.json_extract
        names = ("$.gate", "$.name", "$.verdict")
    else:
        gates = func.jsonb_path_query(Job.verification, literal_column("'$.gates[*]'"))
        field, names = func.jsonb_extract_path_text, ("gate", "name", "verdict")
    each = gates.table_valued("value")
    if not sqlite:  # a function that gives no table names its column only so
        each = each.render_derived()
    fields = [field(each.c.value, name) for name in names]
    query = select(*fields, func.count()).select_from(Job).join(each, literal_column("true"))
    rows = session.execute(query.group_by(*fields)).all()
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def swaps(session: Session) -> dict[str, int]:
    """By model name: how often a version was published, going back to one included."""
    published = select(Version.model_id, func.count()).where(Version.published_at.is_not(None))
    found = dict(session.execute(published.group_by(Version.model_id)).all())
    back = select(AuditEvent.noun_id, func.count()).where(
        and_(AuditEvent.noun == "model", AuditEvent.event == "rolled back")
    )
    returned = dict(session.execute(back.group_by(AuditEvent.noun_id)).all())
    names = session.execute(select(Model.id, Model.name)).all()
    return {name: found.get(i, 0) + returned.get(i, 0) for i, name in names}
