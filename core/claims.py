"""What can be claimed at a moment, in its order, and who was served: `core.turns` on the records.

However many jobs are queued, what is read of them is their number by model, from an index, and
the first of each model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased, load_only

from core import demands, turns, workers
from core.db import Transaction
from core.demands import ANYTHING, Offer
from core.queue import QUEUE, queue_of
from core.records import Job, Model, Share
from core.states import JOB_HELD
from core.turns import Tags, Waiting

VIRTUAL = ""
"""The row of shares that is no tenant's: the time by which tenants are compared."""


@dataclass(frozen=True)
class Found:
    """Jobs that can be claimed, in the order of their turns, and what that was made of."""

    in_order: list[Waiting]
    tags: Tags
    reserve: float


@dataclass(frozen=True)
class _Head:
    """A job that can be claimed: of a model without another that is held."""

    id: str
    model_id: str
    kind: str
    due_at: datetime
    queued_at: datetime


def found(session: Session, now: datetime, offer: Offer = ANYTHING) -> Found:
    """What a worker with this offer may claim now."""
    held = _held(session)
    queued = queued_by_model(session)
    models = _models(
        session, {*(model_id for model_id, _ in queued), *(h.model_id for h, _ in held)}
    )
    mine = {each.id for each in models.values() if offer.takes(demands.of(each))}
    stalled = [head for head, until in held if until is not None and until < now]
    free = mine - {head.model_id for head, _ in held}
    heads = [head for head in stalled if head.model_id in mine]
    for kind in ("erase", "retrain"):
        of_kind = {model_id for model_id, each in queued if each == kind}
        heads += _heads(session, kind, free & of_kind, now)
    waiting = [_waiting(head, models[head.model_id], now) for head in heads]
    tags = _tags(session, {each.tenant for each in waiting})
    reserve = _reserve(queued, [head for head, _ in held], models, mine)
    return Found(turns.order(waiting, tags, now.timestamp(), reserve), tags, reserve)


def charge(tx: Transaction, job_id: str, found: Found) -> None:
    """A queued job was claimed: its tenant has had that share."""
    claimed = next(each for each in found.in_order if each.job_id == job_id)
    query = select(Share).where(Share.tenant.in_((VIRTUAL, claimed.tenant))).order_by(Share.tenant)
    rows = {row.tenant: row for row in tx.session.scalars(query.with_for_update())}
    known = {tenant: row.finish for tenant, row in rows.items()}
    # As they are now, under lock: another may have claimed since they were looked at.
    virtual = max(found.tags.virtual, known.get(VIRTUAL, 0.0))
    tags = Tags(virtual, dict(found.tags.finish) | known)
    virtual, finish = turns.charged(claimed, found.in_order, tags)
    for tenant, value in ((VIRTUAL, virtual), (claimed.tenant, finish)):
        if tenant in rows:
            rows[tenant].finish = value
        else:
            tx.session.add(Share(tenant=tenant, finish=value))


def queued_by_model(session: Session) -> dict[tuple[str, str], int]:
    """How many jobs are queued, by model and kind."""
    query = select(Job.model_id, Job.kind, func.count()).where(Job.state == "queued")
    rows = session.execute(query.group_by(Job.model_id, Job.kind)).all()
    return {(model_id, kind): count for model_id, kind, count in rows}


def pressing(session: Session, now: datetime) -> int:
    """How many queued jobs have a due date nearer than all that is queued may take one worker."""
    queued, held = queued_by_model(session), [head for head, _ in _held(session)]
    models = _models(session, {*(i for i, _ in queued), *(head.model_id for head in held)})
    reserve = _reserve(queued, held, models, models.keys())
    limit = datetime.fromtimestamp(now.timestamp() + reserve, now.tzinfo)
    query = select(func.count()).select_from(Job)
    return session.scalars(query.where(Job.state == "queued", Job.due_at <= limit)).one()


def unserved(session: Session, offers: Sequence[Offer]) -> list[str]:
    """In words: what is queued and no live worker takes. offers: those of the live workers."""
    queued = queued_by_model(session)
    models = _models(session, {model_id for model_id, _ in queued})
    no_class: Counter[str] = Counter()
    too_large: Counter[int] = Counter()
    for (model_id, _), count in queued.items():
        demand = demands.of(models[model_id])
        if any(offer.takes(demand) for offer in offers):
            continue
        if any(offer.serves(demand.job_class) for offer in offers):
            too_large[demand.memory_mb] += count
        else:
            no_class[demand.job_class] += count
    said = [
        f"{_jobs(count)} of class {name!r}, which no live worker serves: start one with "
        f"`lethe worker --classes {name}`"
        for name, count in sorted(no_class.items())
    ]
    return said + [
        f"{_jobs(count)} that need {mb} MB, more than any live worker of their class has"
        for mb, count in sorted(too_large.items())
    ]


def queues(session: Session, job_id: str) -> list[str]:
    """Where a wake-up for the job is heard: by live workers that serve its class.

    One that serves every class listens at one place for all of them.
    """
    offers = workers.offers(session)
    names = [QUEUE] if any(offer.classes is None for offer in offers) else []
    if len(names) < len(offers):
        query = select(Model).join(Job, Job.model_id == Model.id).where(Job.id == job_id)
        model = session.scalars(query).one_or_none()
        job_class = demands.of(model).job_class if model else ""
        if any(offer.classes and job_class in offer.classes for offer in offers):
            names.append(queue_of(job_class))
    return names or [QUEUE]


def _jobs(count: int) -> str:
    return f"{count} queued {'job is' if count == 1 else 'jobs are'}"


def _held(session: Session) -> list[tuple[_Head, datetime | None]]:
    """The jobs that are held, one a model at most, each with the end of its lease."""
    query = select(
        Job.id, Job.model_id, Job.kind, Job.due_at, Job.queued_at, Job.lease_until
    ).where(Job.state.in_(JOB_HELD))
    return [(_Head(*row[:5]), row[5]) for row in session.execute(query).all()]


def _models(session: Session, ids: Collection[str]) -> dict[str, Model]:
    if not ids:
        return {}
    read = load_only(Model.id, Model.architecture, Model.policy, Model.costs)
    query = select(Model).where(Model.id.in_(ids)).options(read)
    return {model.id: model for model in session.scalars(query)}


def _heads(
    session: Session, kind: str, model_ids: Collection[str], now: datetime
) -> Iterable[_Head]:
    """Of each of these models the queued job of a kind that is due soonest."""
    if not model_ids:
        return []
    other = aliased(Job)
    first = (
        select(other.id)
        .where(
            other.model_id == Model.id,
            other.kind == kind,
            other.state == "queued",
            other.not_before <= now,
        )
        .order_by(other.due_at, other.queued_at, other.id)
        .limit(1)
        .scalar_subquery()
    )
    ids = session.scalars(select(first).where(Model.id.in_(model_ids))).all()
    query = select(Job.id, Job.model_id, Job.kind, Job.due_at, Job.queued_at)
    rows = session.execute(query.where(Job.id.in_([each for each in ids if each]))).all()
    return [_Head(*row) for row in rows]


def _waiting(head: _Head, model: Model, now: datetime) -> Waiting:
    demand = demands.of(model)
    return Waiting(
        head.id,
        demand.tenant,
        demand.weight,
        demands.seconds_of(model, head.kind),
        head.due_at.timestamp(),
        head.queued_at.timestamp(),
        spare=head.kind == "retrain" and head.due_at > now,
    )


def _tags(session: Session, tenants: Collection[str]) -> Tags:
    query = select(Share.tenant, Share.finish).where(Share.tenant.in_({VIRTUAL, *tenants}))
    finish = dict(session.execute(query).all())
    return Tags(finish.pop(VIRTUAL, 0.0), finish)


def _reserve(
    queued: Mapping[tuple[str, str], int],
    held: Sequence[_Head],
    models: Mapping[str, Model],
    mine: Collection[str],
) -> float:
    asked = {(i, kind): n for (i, kind), n in queued.items() if i in mine}
    each = {key: demands.seconds_of(models[key[0]], key[1]) for key in asked}
    running = [demands.seconds_of(models[h.model_id], h.kind) for h in held if h.model_id in mine]
    work = sum(count * each[key] for key, count in asked.items())
    return turns.reserve(work, max([*each.values(), *running], default=0.0))
