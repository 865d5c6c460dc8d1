"""Inference processes: what each serves now, and whether it still may."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core import registry
from core.db import Database, Transaction, database_now
from core.ids import new_id
from core.records import Replica, Version


def announce(db: Database, seconds: float) -> str:
    """Register this process as a replica that serves nothing yet; returns its id."""
    with db.transaction() as tx:
        replica = Replica(
            id=new_id("rep"),
            host=socket.gethostname(),
            pid=os.getpid(),
            serving={},
            started_at=tx.now,
            lease_until=tx.now + timedelta(seconds=seconds),
        )
        tx.session.add(replica)
        return replica.id


def renew(db: Database, replica_id: str, serving: dict[str, Any], seconds: float) -> bool:
    """Report what is served now and renew the lease; False when the row is gone.

    A lease that has run out is not renewed: a tainted checkpoint may have been destroyed
    on the strength of it. The caller announces itself anew, after loading what is current.
    """
    with db.transaction() as tx:
        replica = tx.session.get(Replica, replica_id, with_for_update=True)
        if replica is None or replica.lease_until < tx.now:
            return False
        replica.serving = serving
        replica.lease_until = tx.now + timedelta(seconds=seconds)
        return True


def adopt(
    db: Database,
    replica_id: str,
    version: Version,
    entry: dict[str, Any],
    *,
    retired: bool = False,
    untainted: bool = False,
) -> bool:
    """Say, before anything is answered from `version`, that this replica may; `entry` is all
    that it holds of the model: {"digest", "version", "also", "error"}.

    False when the version is not served (with `retired`: nor retained; with `untainted`: or
    remembers what is to be forgotten), or the replica's lease has ended: then nothing may be
    answered from it. The version's row is share-locked, so that a publication comes wholly
    before (and is seen here) or after (and sees this report).
    """
    good = {"serving", "retired"} if retired else {"serving"}
    with db.transaction() as tx:
        state = tx.session.scalar(
            select(Version.state).where(Version.id == version.id).with_for_update(read=True)
        )
        replica = tx.session.get(Replica, replica_id, with_for_update=True)
        if state not in good or replica is None or replica.lease_until < tx.now:
            return False
        if untainted and registry.taints(tx.session, [version.id]):
            return False
        replica.serving = {**replica.serving, version.model_id: entry}
        return True


def leave(db: Database, replica_id: str) -> None:
    """This process serves nothing any more."""
    with db.transaction() as tx:
        tx.session.execute(delete(Replica).where(Replica.id == replica_id))


def live(session: Session) -> list[Replica]:
    """Replicas whose lease holds, oldest first."""
    now = database_now(session)
    query = select(Replica).where(Replica.lease_until >= now).order_by(Replica.started_at)
    return list(session.scalars(query))


def still_serving(session: Session, model_id: str, digests: set[str]) -> list[Replica]:
    """Live replicas that serve one of these digests of the model, or answer from it still."""
    found = []
    for replica in live(session):
        entry = replica.serving.get(model_id, {})
        if digests & {entry.get("digest"), *entry.get("also", [])}:
            found.append(replica)
    return found


def forget_dead(tx: Transaction, older_than: float) -> int:
    """Remove rows of replicas whose lease ended more than `older_than` seconds ago."""
    limit = tx.now - timedelta(seconds=older_than)
    done = tx.session.execute(delete(Replica).where(Replica.lease_until < limit))
    return int(done.rowcount)  # type: ignore[attr-defined]  # a DELETE's result has it
