"""Callbacks: what was sent of a request, how every attempt went, and sending it again."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy.orm import Session

from core import deliveries, requests
from core.records import Delivery
from service.deps import CanRead, CanReplay, Reader, Tx
from service.openapi import problems
from service.paging import Cursor, Id, Limit, StatusFilter, page
from service.schemas import DeliveryPage, DeliveryView

router = APIRouter(tags=["deliveries"])


@router.get("/deliveries", responses=problems())
def list_all(
    caller: CanRead,
    session: Reader,
    status: StatusFilter = None,
    limit: Limit = 50,
    after: Cursor = None,
) -> DeliveryPage:
    """Callbacks of all requests, newest first; `status=given_up` finds those that never arrived."""
    found = deliveries.listed(
        session, status=status, only=caller.model_id, after=after, limit=limit + 1
    )
    shown, following = page(found, limit)
    return DeliveryPage(items=_views(session, shown), next=following)


@router.get("/erasure-requests/{request_id}/deliveries", responses=problems(404))
def of_request(
    caller: CanRead, session: Reader, request_id: Id, limit: Limit = 50, after: Cursor = None
) -> DeliveryPage:
    """Callbacks of one request, newest first, with every attempt."""
    requests.get(session, request_id, only=caller.model_id)
    found = deliveries.listed(session, request_id=request_id, after=after, limit=limit + 1)
    shown, following = page(found, limit)
    return DeliveryPage(items=_views(session, shown), next=following)


@router.post("/deliveries/{delivery_id}/replay", status_code=202, responses=problems(404))
def replay(caller: CanReplay, tx: Tx, delivery_id: Id) -> DeliveryView:
    """Send a callback again at once, with the same id and body, however it stands."""
    delivery = deliveries.replay(tx, delivery_id, only=caller.model_id)
    tx.session.flush()
    return _views(tx.session, [delivery])[0]


def _views(session: Session, found: Sequence[Delivery]) -> list[DeliveryView]:
    attempts = deliveries.attempts_of(session, [each.id for each in found])
    return [DeliveryView.of(each, attempts[each.id]) for each in found]
