"""How a model came to be what it is: its versions, the jobs that made them, what is left of each.

A part of it at a time: a model that forgets every day has thousands of versions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import drift, replicas
from core.db import database_now
from core.records import Job, Model, Taint, Version

WINDOW = 24
"""Versions that one picture shows."""

EXACT = "retrain"
"""The strategy whose result has seen nothing of what was erased: it trains anew."""


@dataclass(frozen=True)
class Step:
    """One version: its parent's number, the job that made it, and what became of it.

    strategy: how the job made it; None for a first training or an import. exact: was it trained
    on nothing that it should have forgotten? remembers: requests that it still remembers.
    served_by: live replicas that answer from it. drift: shares of the model's budget used up,
    by limit; None where it was never measured.
    """

    version: Version
    parent: int | None
    strategy: str | None
    exact: bool
    remembers: int
    served_by: list[str]
    drift: dict[str, float] | None

    @property
    def tainted(self) -> bool:
        """Does its file still lie there, and remember what is to be forgotten?"""
        return self.remembers > 0 and self.version.state != "destroyed"


@dataclass(frozen=True)
class Lineage:
    """Some of a model's versions, newest first; `older` and `newer` are where the rest begins.

    older: give it as `before` to go on; None at the first version. newer: the same towards the
    newest; None when this is the newest part.
    """

    steps: list[Step]
    older: int | None
    newer: int | None


def of_model(
    session: Session, model: Model, *, before: int | None = None, limit: int = WINDOW
) -> Lineage:
    """The newest `limit` versions with numbers below `before` (of all, when None)."""
    query = select(Version).where(Version.model_id == model.id)
    if before is not None:
        query = query.where(Version.number < before)
    found = list(session.scalars(query.order_by(Version.number.desc()).limit(limit + 1)))
    shown = found[:limit]
    newest = session.scalar(select(func.max(Version.number)).where(Version.model_id == model.id))
    newer = None
    if shown and newest is not None and shown[0].number < newest:
        newer = shown[0].number + limit + 1
    return Lineage(
        steps=_steps(session, model, shown),
        older=shown[-1].number if len(found) > limit else None,
        newer=newer,
    )


def retired(session: Session, model: Model, limit: int = WINDOW) -> list[Step]:
    """Versions whose files are kept although they are not served, newest first."""
    query = (
        select(Version)
        .where(Version.model_id == model.id, Version.state == "retired")
        .order_by(Version.number.desc())
        .limit(limit)
    )
    return _steps(session, model, list(session.scalars(query)))


def _steps(session: Session, model: Model, versions: list[Version]) -> list[Step]:
    parents = _numbers(session, {version.parent_id for version in versions})
    made_by = _strategies(session, {version.job_id for version in versions})
    remembers = _remembered(session, [version.id for version in versions])
    serving: dict[str, list[str]] = {}
    for replica in replicas.live(session):
        entry = replica.serving.get(model.id, {})
        for digest in {entry.get("digest"), *entry.get("also", [])} - {None}:
            serving.setdefault(digest, []).append(replica.id)
    budget, now = drift.Budget.of(model.policy), database_now(session)
    steps = []
    for version in versions:
        strategy = made_by.get(version.job_id or "")
        account = version.metrics.get("drift")
        steps.append(
            Step(
                version=version,
                parent=parents.get(version.parent_id or ""),
                strategy=strategy,
                exact=version.parent_id is None or strategy == EXACT,
                remembers=remembers.get(version.id, 0),
                served_by=serving.get(version.digest, []),
                drift=drift.spent(budget, account, now) if account else None,
            )
        )
    return steps


def _numbers(session: Session, ids: Collection[str | None]) -> dict[str, int]:
    query = select(Version.id, Version.number).where(Version.id.in_(ids))
    return dict(session.execute(query).all())


def _strategies(session: Session, ids: Collection[str | None]) -> dict[str, str]:
    """By what each job made its result: the last rung that it climbed to, where it is known."""
    climbed = Job.candidate["strategy"].as_string()
    query = select(Job.id, func.coalesce(climbed, Job.strategy)).where(Job.id.in_(ids))
    return dict(session.execute(query).all())


def _remembered(session: Session, ids: Collection[str]) -> dict[str, int]:
    # Version by version: taken together they may be so many that all of the table is read.
    remembered = select(func.count()).where(Taint.version_id == Version.id).scalar_subquery()
    query = select(Version.id, remembered).where(Version.id.in_(ids))
    return {version_id: count for version_id, count in session.execute(query) if count}
