"""Named leases in the database: one holder at a time, taken over once they run out."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from core.db import Database
from core.records import Lease


def take(db: Database, name: str, owner: str, seconds: float) -> bool:
    """Take or renew the lease; False while another holds it."""
    try:
        return _take(db, name, owner, seconds)
    except IntegrityError:  # another made the row in the same moment
        return False


def _take(db: Database, name: str, owner: str, seconds: float) -> bool:
    with db.transaction() as tx:
        lease = tx.session.scalars(
            select(Lease).where(Lease.name == name).with_for_update()
        ).one_or_none()
        until = tx.now + timedelta(seconds=seconds)
        if lease is None:
            tx.session.add(Lease(name=name, owner=owner, until=until))
            return True
        if lease.owner != owner and lease.until >= tx.now:
            return False
        lease.owner, lease.until = owner, until
        return True


def give_up(db: Database, name: str, owner: str) -> None:
    """Let another have it at once."""
    with db.transaction() as tx:
        tx.session.execute(delete(Lease).where(Lease.name == name, Lease.owner == owner))


def alive(db: Database, prefix: str) -> bool:
    """Does anybody hold a lease whose name begins so? Those that ran out are forgotten."""
    begins = Lease.name.startswith(prefix, autoescape=True)
    with db.transaction() as tx:
        tx.session.execute(delete(Lease).where(begins, Lease.until < tx.now))
        return tx.session.scalars(select(Lease.name).where(begins).limit(1)).first() is not None
