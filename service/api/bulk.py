"""Erasure requests by the thousand: posted in one call, each with a result of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import orjson
from anyio import from_thread
from fastapi import APIRouter, Request, Response

from core import audit, bulk, tracing
from core.asked import Asked, Call, Repeat, Submitted
from core.backend import Backend
from core.bulk import Outcome
from core.errors import Invalid
from core.points import reached
from service import errors
from service.api.asking import wanted, writer, written
from service.api.erasure_requests import IdempotencyKey
from service.deps import BackendDep, CanErase, LimiterDep
from service.openapi import problems
from service.schemas import Bulk, BulkAnswer, BulkItem

log = logging.getLogger(__name__)

router = APIRouter(
    prefix="/erasure-requests", tags=["erasure requests"], responses=problems(404, 409)
)


@router.post("/bulk", response_model=BulkAnswer)
def post(
    caller: CanErase,
    backend: BackendDep,
    limiter: LimiterDep,
    body: Bulk,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask for up to 5,000 erasures at once; each is answered as if it had come alone.

    What is wrong with one item takes no other along: 200 says that each was looked at, and
    `items` what became of it. The requests of one call share jobs. With an `Idempotency-Key` a
    call that broke off may be sent again: what was taken in is answered as it was, the rest is
    taken in now. A key for one model is refused as a whole when an item names another.
    """
    for item in body.items:
        if item.new is not None:
            caller.permit(item.new.model)
    subjects = [item.new.subject_id if item.new else None for item in body.items]
    from_thread.run(limiter.erasures, caller, subjects)
    call_id = request.state.request_id
    with tracing.span("POST /erasure-requests/bulk", parent=request.headers.get("traceparent")):
        call = Call(call_id, tracing.traceparent())
        asked = _asked(backend, body.items, caller.key_id, idempotency_key, call)
        done = iter(bulk.take_in(backend, [each for each in asked if isinstance(each, Asked)]))
    reached("intake:before-answer")
    outcomes = [next(done) if isinstance(each, Asked) else each for each in asked]
    results = [
        _result(index, item, outcome, call_id)
        for index, (item, outcome) in enumerate(zip(body.items, outcomes, strict=True))
    ]
    counted = _counted(results)
    log.info("bulk taken in", extra=counted)
    content = orjson.dumps({**counted, "items": results})
    headers = {"Idempotency-Replayed": "true"} if _all_replayed(outcomes) else {}
    return Response(content, headers=headers, media_type="application/json")


def _asked(
    backend: Backend,
    items: Sequence[BulkItem],
    key_id: str | None,
    idempotency_key: str | None,
    call: Call,
) -> list[Asked | Invalid]:
    """What each item asks for, or why it asks for nothing that can be done."""
    digest = ""
    if idempotency_key is not None:
        whole = [item.new.model_dump() if item.new else None for item in items]
        digest = backend.identities.body(audit.canonical(whole))
    calling = _Calling(backend)
    found: list[Asked | Invalid] = []
    for index, item in enumerate(items):
        if item.new is None:
            found.append(_unfit(item))
            continue
        if refused := calling.refused(item.new.callback_url):
            found.append(refused)
            continue
        repeat = None
        if idempotency_key is not None:
            # One for each item, of one body. A header has no NUL: it is no other call's.
            value = backend.identities.body(f"{idempotency_key}\0{index}".encode())
            repeat = Repeat(value, digest, writer(item.new.model))
        found.append(Asked(wanted(item.new), key_id, repeat, call))
    return found


class _Calling:
    """The check of the addresses that are to be called back, each looked at once."""

    def __init__(self, backend: Backend) -> None:
        self._outbound = backend.outbound
        self._known: dict[str, Invalid | None] = {}

    def refused(self, url: str | None) -> Invalid | None:
        """Why this one would not be called."""
        if url is None:
            return None
        if url not in self._known:
            try:
                self._outbound.check_named(url, "callback_url")
                self._known[url] = None
            except Invalid as error:
                self._known[url] = error
        return self._known[url]


def _unfit(item: BulkItem) -> Invalid:
    findings = [
        {"where": "item", "message": "must be an object, as POST /erasure-requests takes it"}
        if each["type"] == "model_attributes_type"
        else errors.finding({**each, "loc": ("body", *each["loc"])})
        for each in item.findings
    ]
    return Invalid(errors.summed_up(findings), findings)


def _result(index: int, item: BulkItem, outcome: Outcome, call_id: str) -> dict[str, Any]:
    """One item of the answer, as `BulkResult` describes it."""
    if isinstance(outcome, Submitted):
        assert item.new is not None, "what was taken in could be read"
        view = orjson.Fragment(written(outcome, item.new.model))
        told = {"status": 202, "id": outcome.request.id, "request": view, "problem": None}
    else:
        problem = errors.told(outcome, call_id)
        told = {"status": problem["status"], "id": None, "request": None, "problem": problem}
    return {"index": index, **told}


def _all_replayed(outcomes: Sequence[Outcome]) -> bool:
    taken = [each.replayed for each in outcomes if isinstance(each, Submitted)]
    return bool(taken) and None not in taken


def _counted(results: Sequence[dict[str, Any]]) -> dict[str, int]:
    refused = sum(result["problem"] is not None for result in results)
    return {"accepted": len(results) - refused, "refused": refused}
