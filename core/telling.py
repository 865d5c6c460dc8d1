"""What is said to others when an erasure request changes its state: ids and times, no person."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from core.audit import timestamp
from core.db import Transaction
from core.ids import new_id
from core.records import Delivery, ErasureRequest

STANDARD = "standard-webhooks"


def tell(tx: Transaction, request: ErasureRequest) -> None:
    """Have the new state of `request` sent to its callback_url once this has committed."""
    if request.callback_url is None:
        return
    event = f"erasure_request.{request.state}"
    told = {"type": event, "timestamp": timestamp(tx.now), "data": _facts(request)}
    write(tx, request.id, request.callback_url, STANDARD, event, json.dumps(told))


def write(tx: Transaction, request_id: str, url: str, form: str, event: str, payload: str) -> None:
    """A message that is sent once this has committed."""
    # A microsecond apart: those of one transaction are sent in their order.
    at = tx.now + timedelta(microseconds=len(tx.last))
    tx.last.append(
        Delivery(
            id=new_id("msg"),
            request_id=request_id,
            form=form,
            event=event,
            url=url,
            payload=payload,
            state="pending",
            next_at=at,
            created_at=at,
        )
    )


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
