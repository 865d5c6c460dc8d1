"""Erasure requests: posted, listed, read, cancelled, extended, refused, certified."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from core import audit, facts, replies, requests, tracing
from core.db import Transaction, database_now
from core.intake import Asked, Call, Repeat
from core.points import reached
from core.records import ErasureRequest
from service.api.asking import wanted, writer, written
from service.calling import check_callback
from service.deps import (
    BackendDep,
    CanErase,
    CanRead,
    CanReview,
    CanWithdraw,
    DeskDep,
    LimiterDep,
    Reader,
    Tx,
)
from service.openapi import problems
from service.paging import Cursor, Id, Limit, ModelFilter, StatusFilter, page
from service.schemas import (
    Because,
    ErasureRequestDetail,
    ErasureRequestPage,
    ErasureRequestView,
    Extension,
    NewErasureRequest,
    Rejection,
)
from service.schemas.common import NO_NUL

log = logging.getLogger(__name__)

router = APIRouter(
    prefix="/erasure-requests", tags=["erasure requests"], responses=problems(404, 409)
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=NO_NUL,
        description="The same key and body are answered as they were the first time, for 30 days.",
    ),
]


@router.post("", status_code=202, response_model=ErasureRequestView)
async def post(
    caller: CanErase,
    backend: BackendDep,
    desk: DeskDep,
    limiter: LimiterDep,
    body: NewErasureRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask that the models trained on these samples forget them.

    Once 202 is answered the request is kept and will be carried out. A subject with no
    samples completes at once, with the outcome `no_data_found`.
    """
    caller.permit(body.model)
    await limiter.erasures(caller, [body.subject_id])
    await check_callback(backend, body.callback_url)
    new = wanted(body)
    repeat = None
    if idempotency_key is not None:
        digest = backend.identities.body(audit.canonical(body.model_dump()))
        # Hashed as well: some callers make it from whom the request is about.
        keyed = backend.identities.body(idempotency_key.encode())
        repeat = Repeat(keyed, digest, writer(body.model))
    with tracing.span("POST /erasure-requests", parent=request.headers.get("traceparent")):
        call = Call(request.state.request_id, tracing.traceparent())
        done = await asyncio.wrap_future(desk.hand_in(Asked(new, caller.key_id, repeat, call)))
    log.info(
        "request taken in" if done.replayed is None else "request answered again",
        extra={"erasure_request": done.request.id, "job_ids": done.job_ids},
    )
    reached("intake:before-answer")
    headers = {"Location": f"/erasure-requests/{done.request.id}"}
    if done.replayed is not None:
        headers["Idempotency-Replayed"] = "true"
    return Response(written(done, body.model), 202, headers, media_type="application/json")


@router.get("")
def list_all(
    caller: CanRead,
    session: Reader,
    status: StatusFilter = None,
    model: ModelFilter = None,
    overdue: Annotated[bool, Query(description="Only open ones whose due date is past.")] = False,
    limit: Limit = 50,
    after: Cursor = None,
) -> ErasureRequestPage:
    """Erasure requests, newest first."""
    if model is not None:
        caller.permit(model)
    found = requests.listed(
        session,
        status=status,
        model=model,
        only=caller.model_id,
        overdue_at=database_now(session) if overdue else None,
        after=after,
        limit=limit + 1,
    )
    shown, following = page(found, limit)
    items = [ErasureRequestView.of(each) for each in facts.of_requests(session, shown)]
    return ErasureRequestPage(items=items, next=following)


@router.get("/{request_id}")
def get(
    caller: CanRead, session: Reader, backend: BackendDep, request_id: Id
) -> ErasureRequestDetail:
    """One request with the history of its transitions."""
    found = facts.of_request(session, request_id, only=caller.model_id)
    events = audit.history(session, "erasure_request", request_id)
    salt = None
    if "erase" in caller.scopes:
        salt = backend.identities.salt(request_id, found.request.secret_generation)
    return ErasureRequestDetail.with_history(found, events, salt)


@router.get("/{request_id}/certificate", response_class=Response)
def certificate(caller: CanRead, session: Reader, request_id: Id) -> Response:
    """The signed certificate, byte for byte as issued; 409 until the request is completed."""
    document = requests.certificate_of(session, request_id, only=caller.model_id)
    return Response(document, media_type="application/json")


@router.get(
    "/{request_id}/answer",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def answer(caller: CanRead, session: Reader, backend: BackendDep, request_id: Id) -> Response:
    """The answer to the person, ready to send: what was done, why, and how to complain."""
    request = requests.get(session, request_id, only=caller.model_id)
    text = replies.text_for(request, contact=backend.settings.contact)
    return Response(text, media_type="text/plain")


@router.post("/{request_id}/cancel")
def cancel(caller: CanWithdraw, tx: Tx, request_id: Id, body: Because) -> ErasureRequestView:
    """Withdraw a request. While its job runs, the job stops at its next step first."""
    requests.get(tx.session, request_id, only=caller.model_id)
    return _view(tx, requests.end(tx, request_id, "cancelled", body.reason))


@router.post("/{request_id}/reject")
def reject(caller: CanReview, tx: Tx, request_id: Id, body: Rejection) -> ErasureRequestView:
    """Refuse a request that has not begun, or is in review, for a reason that programs know.

    `refusal` is one of the Data Rights Protocol's reasons, or `legal_hold`.
    """
    requests.get(tx.session, request_id, only=caller.model_id)
    ended = requests.end(tx, request_id, "rejected", body.reason, refusal=body.refusal)
    return _view(tx, ended)


@router.post("/{request_id}/extend")
def extend(caller: CanReview, tx: Tx, request_id: Id, body: Extension) -> ErasureRequestView:
    """Move the due date later."""
    requests.get(tx.session, request_id, only=caller.model_id)
    return _view(tx, requests.extend(tx, request_id, body.due_at, body.reason))


def _view(tx: Transaction, request: ErasureRequest) -> ErasureRequestView:
    tx.session.flush()
    [found] = facts.of_requests(tx.session, [request])
    return ErasureRequestView.of(found)
