"""What surrounds every call: a request id, a cap on the body, one log line, a last resort."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from core.ids import new_id
from service.door import PROBES
from service.errors import answer
from service.headers import added
from service.metrics import Metrics

log = logging.getLogger(__name__)

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


CLIENT_GONE = 499
"""The status in log and metrics of a call whose client did not wait for the answer (nginx's)."""


LONG_SECONDS = 1.0
"""A prediction or probe that took so long is worth a line; others are only counted (`Metrics`)."""


class RequestShell:
    """The outermost layer of the application (plain ASGI: streams pass through untouched).

    Takes X-Request-ID if it is sane, or makes one, and returns it. Refuses bodies of more
    than `max_body_bytes` before they are read: by Content-Length at once, chunked ones as
    soon as they pass it. Answers any error that nothing else answered with a 500 that says
    nothing but the request id. Every answer gets the `headers` that it does not set itself.
    tell_all: give each call its line in the log; else only those that went wrong or took long.
    Probes of health have one only then in any case.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        tell_all: bool = True,
    ) -> None:
        self._app = app
        self._max = max_body_bytes
        self._headers = headers
        self._tell_all = tell_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or the start and stop of the whole application."""
        if scope["type"] == "http":
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, _in_one_line(scope, send))

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0
        request_id, declared = _looked_through(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        state = scope["app"].state

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = added(message.get("headers", ()), self._headers)
                headers.append((b"x-request-id", request_id.encode()))
                if state.watcher.closing:
                    # An idle connection that the server closes may meet the client's next call.
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        bound = logs.bind(request_id=request_id)
        try:
            if declared is None:  # count what comes
                receive = self._capped(receive)
            elif declared > self._max:
                raise self._too_large()
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            status = status or CLIENT_GONE
        except Exception as error:
            if status:  # too late for another answer: the connection breaks off
                raise
            await answer(error, request_id, scope["path"])(scope, receive, sending)
        finally:
            seconds, route = time.perf_counter() - started, template(scope)
            tell = self._tell_all and scope["path"] not in PROBES
            if tell or status >= 400 or seconds >= LONG_SECONDS:
                told = {
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                }
                log.info("call", extra=told)
            metrics: Metrics = state.metrics
            metrics.called(scope["method"], route, status, seconds)
            logs.unbind(**bound)

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


class Shortcut:
    """Takes the calls of one busy route past everything else; the rest goes its usual way."""

    def __init__(
        self, app: ASGIApp, short: ASGIApp, route: BaseRoute, takes: Callable[[Scope], bool]
    ) -> None:
        self._app, self._short, self._route, self._takes = app, short, route, takes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] == "http" and self._takes(scope):
            scope["route"] = self._route
            await self._short(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def template(scope: Scope) -> str:
    """The route that took the call, its parameters unfilled: they may name somebody.

    Below a mounted application, with where it is mounted.
    """
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "(none)"
    mounted: str = scope.get("root_path", "")
    return mounted.removeprefix(scope.get("app_root_path", "")) + path


def _in_one_line(scope: Scope, send: Send) -> Send:
    """`send`, but a start that failed for a reason we know says it, and no traceback."""

    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message["message"] = getattr(scope["app"].state, "cannot_start", message["message"])
        await send(message)

    return sending


def _looked_through(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int | None]:
    """The request id that was sent, or a new one; the body's length, None when it is not said.

    The server itself sees to it that a body is no longer than its declared length.
    """
    request_id, declared, chunked = "", None, False
    for name, value in headers:
        if name == b"x-request-id" and not request_id:
            request_id = value.decode("latin-1")
        elif name == b"content-length" and value.isdigit():
            declared = int(value[:20])
        elif name == b"transfer-encoding":
            chunked = True
    if not _SANE.fullmatch(request_id):
        request_id = new_id("req")
    return request_id, None if chunked else declared
