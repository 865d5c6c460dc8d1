"""What is said to others when an erasure request changes its state: ids and times, no person."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial

from core import opendsr_state, outbox
from core.audit import timestamp
from core.db import Transaction
from core.records import ErasureRequest

STANDARD = "standard-webhooks"


def tell(tx: Transaction, request: ErasureRequest) -> None:
    """Have the new state of `request` sent to who asked for it, once this has committed."""
    if request.opendsr_id is not None:
        tx.finals[request.opendsr_id] = partial(opendsr_state.follow, tx, request.opendsr_id)
    if request.callback_url is None:
        return
    event = f"erasure_request.{request.state}"
    told = {"type": event, "timestamp": timestamp(tx.now), "data": _facts(request)}
    outbox.write(tx, request.callback_url, STANDARD, event, json.dumps(told), request_id=request.id)


def _facts(request: ErasureRequest) -> dict[str, str | None]:
    """Nothing that is free text of ours or a reviewer's: that may name somebody."""
    return {
        "id": request.id,
        "status": request.state,
        "outcome": request.outcome,
        "external_id": request.external_id,
        "received_at": timestamp(request.received_at),
        "due_at": timestamp(request.due_at),
        "completed_at": _moment(request.completed_at),
    }


def _moment(at: datetime | None) -> str | None:
    return timestamp(at) if at else None
