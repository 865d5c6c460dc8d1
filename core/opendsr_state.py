"""The state of an OpenDSR request: what its erasure requests, taken together, amount to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import outbox
from core.audit import timestamp
from core.db import Transaction
from core.records import ErasureRequest, OpenDsrRequest
from core.states import OPENDSR, REQUEST_OPEN

NOT_BEGUN = {"received", "scheduled"}
WITHDRAWN = {"cancelled", "rejected"}


def follow(tx: Transaction, opendsr_id: str) -> None:
    """Move an OpenDSR request to where its erasure requests have brought it, and say so to all
    its callback URLs. Called last in a transaction that changed one of them.
    """
    query = select(OpenDsrRequest).where(OpenDsrRequest.id == opendsr_id)
    # Of two who come at once, each has a share of the row's key already: PostgreSQL looks foreign
    # keys up when a row is changed twice. A lock that goes with such shares keeps both from waiting
    # for the other.
    query = query.with_for_update(key_share=True)
    record = tx.session.scalars(query.execution_options(populate_existing=True)).one()
    erasures = erasures_of(tx.session, opendsr_id)
    old, new = record.state, _state(record.state, {each.state for each in erasures})
    if new == old:
        return
    OPENDSR.check(record.id, old, new)
    record.state = new
    if new in OPENDSR.final:
        record.ended_at = tx.now
    tx.record("opendsr_request", record.id, "moved", **{"from": old, "to": new})
    for url in record.callback_urls:
        outbox.write(
            tx,
            url,
            form_of(record),
            f"opendsr_request.{new}",
            json.dumps({**described(record, erasures), "status_callback_url": url}),
            opendsr_id=record.id,
        )


def form_of(record: OpenDsrRequest) -> str:
    """How its messages are signed: opendsr/1 or opendsr/2."""
    return f"opendsr/{record.version.partition('.')[0]}"


def erasures_of(session: Session, opendsr_id: str) -> Sequence[ErasureRequest]:
    """The erasure requests by which it is carried out, the oldest first."""
    query = select(ErasureRequest).where(ErasureRequest.opendsr_id == opendsr_id)
    fresh = query.order_by(ErasureRequest.id).execution_options(populate_existing=True)
    return session.scalars(fresh).all()


def described(record: OpenDsrRequest, erasures: Sequence[ErasureRequest]) -> dict[str, Any]:
    """A status object (OpenDSR 8.3). What OpenDSR has no words for is in our extension: a
    request that was refused is "cancelled" there, with the outcome "rejected" here.
    """
    due = [each.due_at for each in erasures]  # may have been extended
    ours = {
        "erasure_requests": [
            {
                "id": each.id,
                "status": each.state,
                "outcome": each.outcome,
                "refusal": each.refusal,
            }
            for each in erasures
        ],
        "uncovered_datasets": record.uncovered,
    }
    return {
        "controller_id": record.key_id,
        "subject_request_id": record.subject_request_id,
        "request_status": record.state,
        "expected_completion_time": timestamp(max([record.due_at, *due])),
        "api_version": record.version,
        "extensions": {record.domain: ours},
    }


def _state(before: str, states: set[str]) -> str:
    """From the states of the erasure requests. What has begun is not pending any more, although
    its job may have been handed back.
    """
    if not states & set(REQUEST_OPEN):
        return "cancelled" if states and states <= WITHDRAWN else "completed"
    begun = before == "in_progress" or states - NOT_BEGUN - WITHDRAWN
    return "in_progress" if begun else "pending"
