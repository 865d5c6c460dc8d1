"""Moving a record from one state to the next: allowed, unraced, audited."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from core.db import Transaction
from core.errors import Conflict, LeaseLost
from core.records import Delivery, ErasureRequest, Job, Version
from core.states import DELIVERY, JOB, REQUEST, VERSION, Machine
from core.telling import tell

_MACHINES: dict[type[Any], Machine] = {
    Delivery: DELIVERY,
    ErasureRequest: REQUEST,
    Job: JOB,
    Version: VERSION,
}


def move(
    tx: Transaction,
    record: Delivery | ErasureRequest | Job | Version,
    to: str,
    *,
    reason: str | None = None,
    if_fence: int | None = None,
    **values: Any,
) -> None:
    """Set the state of `record` to `to`, with `values`, if it still is what we think it is.

    The update is conditional on the state that was read and, for a job that is held, on the
    fencing number, so that of two deciders one wins. Raises `Conflict` when the machine
    refuses or another was faster, `LeaseLost` when the fencing number has moved on.
    """
    kind = type(record)
    machine = _MACHINES[kind]
    old = record.state
    machine.check(record.id, old, to)
    changes: dict[str, Any] = {"state": to, **values}
    if kind is Job:
        changes["revision"] = Job.revision + 1
    query = update(kind).where(kind.id == record.id, kind.state == old)
    if if_fence is not None:
        query = query.where(Job.fence == if_fence)
    moved = query.values(changes).returning(kind)
    options = {"synchronize_session": False, "populate_existing": True}
    if tx.session.scalars(moved, execution_options=options).one_or_none() is None:
        if if_fence is not None:
            raise LeaseLost(f"job {record.id} is held by another worker now")
        raise Conflict(f"{machine.noun} {record.id} changed meanwhile; look again and retry")
    data: dict[str, Any] = {"from": old, "to": to}
    if reason:
        data["reason"] = reason
    tx.record(machine.noun, record.id, "moved", **data)
    if isinstance(record, ErasureRequest):
        tell(tx, record)


def pass_on(tx: Transaction, record: ErasureRequest | Job, to: str) -> None:
    """`move` for a record that this transaction made and has not written yet."""
    machine = _MACHINES[type(record)]
    machine.check(record.id, record.state, to)
    tx.record(machine.noun, record.id, "moved", **{"from": record.state, "to": to})
    record.state = to
    if isinstance(record, ErasureRequest):
        tell(tx, record)
