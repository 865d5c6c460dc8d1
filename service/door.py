"""What a call meets before it is read: its address' limit, and how deep its JSON may be."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.limiting import Limiter, address_of

PROBES = frozenset({"/livez", "/readyz"})
"""Never counted: what asks them restarts a process that does not answer."""

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # never looks back: linear
_BRACKETS = re.compile(rb"[\[\]{}]")


class Door:
    """The layer within `RequestShell`, which answers what is raised here (plain ASGI).

    Predictions do not pass it: their queue bounds them, and their parsers are their own.
    """

    def __init__(self, app: ASGIApp, max_json_depth: int) -> None:
        self._app = app
        self._deepest = max_json_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or the start and stop of the whole application."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            limiter: Limiter = scope["app"].state.limiter
            await limiter.spend("address_rate", address_of(scope))
            if scope["method"] in ("POST", "PATCH", "PUT") and _is_json(scope):
                receive = self._measured(receive)
        await self._app(scope, receive, send)

    def _measured(self, receive: Receive) -> Receive:
        """`receive`, which raises before it gives the end of a body that is too deep."""
        chunks: list[bytes] = []

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False) and self._deep(b"".join(chunks)):
                    raise HTTPException(
                        400, f"the JSON has more than {self._deepest} levels, the most taken here"
                    )
            return message

        return receiving

    def _deep(self, body: bytes) -> bool:
        if body.count(b"[") + body.count(b"{") <= self._deepest:
            return False  # nearly always
        depth = 0
        for found in _BRACKETS.finditer(_STRINGS.sub(b"", body)):
            depth += 1 if found[0] in b"[{" else -1
            if depth > self._deepest:
                return True
        return False


def _is_json(scope: Scope) -> bool:
    """Might the body be read as JSON? Forms and images are not."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return not kind or b"json" in kind.lower()
