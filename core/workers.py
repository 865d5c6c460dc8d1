"""Worker processes: which are alive. Each renews a row of its own, whether it has work or not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db import Database, Transaction, database_now
from core.demands import ANYTHING, Offer
from core.records import Worker


def beat(db: Database, worker_id: str, seconds: float, offer: Offer = ANYTHING) -> None:
    """This worker is alive and takes such jobs, and will say so again before `seconds` are over."""
    classes = None if offer.classes is None else sorted(offer.classes)
    with db.transaction() as tx:
        worker = tx.session.get(Worker, worker_id)
        until = tx.now + timedelta(seconds=seconds)
        if worker is None:
            worker = Worker(id=worker_id, started_at=tx.now)
            tx.session.add(worker)
        worker.lease_until = until
        worker.classes, worker.memory_mb = classes, offer.memory_mb


def leave(db: Database, worker_id: str) -> None:
    """This worker stops."""
    with db.transaction() as tx:
        tx.session.execute(delete(Worker).where(Worker.id == worker_id))


def alive(session: Session) -> int:
    """How many workers have a lease that holds."""
    query = select(func.count()).select_from(Worker)
    return session.scalars(query.where(Worker.lease_until >= database_now(session))).one()


def offers(session: Session) -> list[Offer]:
    """What each worker takes whose lease holds."""
    query = select(Worker.classes, Worker.memory_mb)
    rows = session.execute(query.where(Worker.lease_until >= database_now(session))).all()
    return [
        Offer(None if classes is None else frozenset(classes), memory_mb)
        for classes, memory_mb in rows
    ]


def fleet(session: Session) -> Offer:
    """What the live workers take together; anything when none is alive."""
    found = offers(session)
    named = [offer.classes for offer in found if offer.classes is not None]
    most = [offer.memory_mb for offer in found if offer.memory_mb is not None]
    every, any_size = len(named) < len(found), len(most) < len(found)
    return Offer(
        None if every or not found else frozenset().union(*named),
        None if any_size or not found else max(most),
    )


def forget_dead(tx: Transaction, older_than: float) -> None:
    """Remove rows of workers whose lease ended more than `older_than` seconds ago."""
    limit = tx.now - timedelta(seconds=older_than)
    tx.session.execute(delete(Worker).where(Worker.lease_until < limit))
