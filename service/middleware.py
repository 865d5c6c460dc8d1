"""What surrounds every call: a request id, a cap on the body, one log line, a last resort."""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from core.ids import new_id
from service.errors import answer
from service.metrics import Metrics

log = logging.getLogger(__name__)

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


class RequestShell:
    """The outermost layer of the application (plain ASGI: streams pass through untouched).

    Takes X-Request-ID if it is sane, or makes one, and returns it. Refuses bodies of more
    than `max_body_bytes` before they are read: by Content-Length at once, chunked ones as
    soon as they pass it. Answers any error that nothing else answered with a 500 that says
    nothing but the request id.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or the start and stop of the whole application."""
        if scope["type"] == "http":
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, _in_one_line(scope, send))

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _SANE.fullmatch(request_id):
            request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        with logs.bound(request_id=request_id):
            await self._answered(scope, receive, send, headers, request_id)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str
    ) -> None:
        started, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-ID"] = request_id
                if scope["app"].state.watcher.closing:
                    # An idle connection that the server closes may meet the client's next call.
                    answered["Connection"] = "close"
            await send(message)

        try:
            if _declared(headers) > self._max:
                raise self._too_large()
            await self._app(scope, self._capped(receive), sending)
        except Exception as error:
            if status:  # too late for another answer: the connection breaks off
                raise
            await answer(error, request_id, scope["path"])(scope, receive, sending)
        finally:
            seconds, method, route = time.perf_counter() - started, scope["method"], template(scope)
            log.info(
                "call",
                extra={
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                },
            )
            metrics: Metrics = scope["app"].state.metrics
            metrics.called(method, route, status, seconds)

    def _capped(self, receive: Receive) -> Receive:
        seen = 0

        async def receiving() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max:
                raise self._too_large()
            return message

        return receiving

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"the body is larger than {self._max} bytes, the most that is taken here"
        )


def template(scope: Scope) -> str:
    """The route that took the call, its parameters unfilled: they may name somebody."""
    return getattr(scope.get("route"), "path", "(none)")


def _in_one_line(scope: Scope, send: Send) -> Send:
    """`send`, but a start that failed for a reason we know says it, and no traceback."""

    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message["message"] = getattr(scope["app"].state, "cannot_start", message["message"])
        await send(message)

    return sending


def _declared(headers: Headers) -> int:
    try:
        return int(headers.get("content-length", "0"))
    except ValueError:  # the server refuses it before us; other servers may not
        return 0
