"""The two busiest calls of the API, past the framework's search for a route and its injection.

Those cost several times what the calls themselves do. Here the same endpoints are called with the
same parameters; a call that is not plainly good goes on to the framework, which says what is
wrong with it. So there is one description of these routes, one implementation and one set of
errors.
"""

from __future__ import annotations

import re
from typing import cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from core.backend import Backend
from core.keys import Caller
from service.api import erasure_requests
from service.api.erasure_requests import IdempotencyKey
from service.deps import ERASE, READ, Needs, recognised
from service.keyring import bearer
from service.receiving import replayed, whole_body
from service.schemas import NewErasureRequest

_ROUTES = {
    route.endpoint: route
    for route in cast(list[APIRoute], erasure_requests.router.routes)
    if route.endpoint in (erasure_requests.post, erasure_requests.get)
}
_POSTED, _ONE = _ROUTES[erasure_requests.post], _ROUTES[erasure_requests.get]
_ONE_PATH = re.compile(r"/erasure-requests/(er_[0-9a-z]{26})")
_IDEMPOTENCY_KEY: TypeAdapter[str | None] = TypeAdapter(IdempotencyKey)


class Busy:
    """The innermost layer (plain ASGI): answers `POST /erasure-requests` and a request's status.

    What is raised here is answered by `service.middleware.RequestShell`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or hand it on."""
        response: Response | None = None
        if scope["type"] == "http":
            if scope["method"] == "POST" and scope["path"] == _POSTED.path:
                response, receive = await _post(scope, receive)
            elif scope["method"] == "GET" and not scope["query_string"]:
                found = _ONE_PATH.fullmatch(scope["path"])
                if found:
                    response = await _get(scope, found[1])
        await (response or self._app)(scope, receive, send)


async def _post(scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
    """The answer, or None and what the framework is to receive."""
    request = Request(scope, receive)
    if request.headers.get("content-type") != "application/json":
        return None, receive
    raw = await whole_body(receive)
    try:
        body = NewErasureRequest.model_validate_json(raw)
        key = _IDEMPOTENCY_KEY.validate_python(request.headers.get("idempotency-key"))
    except ValidationError:
        return None, replayed(raw, receive)
    scope["route"] = _POSTED
    caller = await _allowed(scope, request, ERASE)
    state = scope["app"].state
    response = await erasure_requests.post(
        caller, state.backend, state.desk, state.limiter, body, request, key
    )
    return response, receive


async def _get(scope: Scope, request_id: str) -> Response:
    scope["route"] = _ONE
    caller = await _allowed(scope, Request(scope), READ)
    backend: Backend = scope["app"].state.backend

    def read() -> str:
        with backend.db.reading() as session:
            return erasure_requests.get(caller, session, backend, request_id).model_dump_json()

    return Response(await run_in_threadpool(read), media_type="application/json")


async def _allowed(scope: Scope, request: Request, needs: Needs) -> Caller:
    text = bearer(request.headers.get("authorization", "").encode("latin-1"))
    return needs.check(await recognised(scope, text))
