"""Worker processes: which are alive. Each renews a row of its own, whether it has work or not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db import Database, Transaction, database_now
from core.records import Worker


def beat(db: Database, worker_id: str, seconds: float) -> None:
    """This worker is alive, and will say so again before `seconds` are over."""
    with db.transaction() as tx:
        worker = tx.session.get(Worker, worker_id)
        until = tx.now + timedelta(seconds=seconds)
        if worker is None:
            tx.session.add(Worker(id=worker_id, started_at=tx.now, lease_until=until))
        else:
            worker.lease_until = until


def leave(db: Database, worker_id: str) -> None:
    """This worker stops."""
    with db.transaction() as tx:
        tx.session.execute(delete(Worker).where(Worker.id == worker_id))


def alive(session: Session, *, host: str | None = None) -> int:
    """How many workers have a lease that holds; of one host alone, where it is named."""
    query = select(func.count()).select_from(Worker)
    if host is not None:
        query = query.where(Worker.id.startswith(f"{host}:", autoescape=True))
    return session.scalars(query.where(Worker.lease_until >= database_now(session))).one()


def forget_dead(tx: Transaction, older_than: float) -> None:
    """Remove rows of workers whose lease ended more than `older_than` seconds ago."""
    limit = tx.now - timedelta(seconds=older_than)
    tx.session.execute(delete(Worker).where(Worker.lease_until < limit))
