"""Messages to others, written in the transaction that they tell of, and sent after it."""

from __future__ import annotations

from datetime import timedelta

from core.db import Transaction
from core.ids import new_id
from core.records import Delivery


def write(
    tx: Transaction,
    url: str,
    form: str,
    event: str,
    payload: str,
    *,
    request_id: str | None = None,
    opendsr_id: str | None = None,
) -> None:
    """A message of an erasure request, or of an OpenDSR request."""
    # A microsecond apart: those of one transaction are sent in their order.
    at = tx.now + timedelta(microseconds=len(tx.last))
    tx.last.append(
        Delivery(
            id=new_id("msg"),
            request_id=request_id,
            opendsr_id=opendsr_id,
            form=form,
            event=event,
            url=url,
            payload=payload,
            state="pending",
            next_at=at,
            created_at=at,
        )
    )
