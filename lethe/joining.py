"""The head of an answer and its body in one packet.

Uvicorn writes each by itself, and uvloop sends at once what is written: a call to the kernel
more, and a client on the other side that wakes for a head that says nothing yet.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST = 16 * 1024
"""Bytes of a body that are worth copying behind their head."""


class JoiningProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, writing through `_Joining`. The bytes on the wire are the same."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._within, self._joining = transport, _Joining(transport, self)
        self.transport = cast("asyncio.Transport", self._joining)  # has all that is used

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: a head that is kept is for nobody, and what pointed in a circle
        does so no more."""
        self._joining.forget()
        super().connection_lost(exc)
        self.transport = self._within


class _Joining:
    """A transport that keeps the head of an answer until the first of its body comes.

    Only where the head tells the body's length: such a body is at hand, whereas the events of a
    stream may let wait for themselves. ASGI has every head wait for its body.
    """

    __slots__ = ("_answered", "_head", "_protocol", "_within")

    def __init__(self, within: asyncio.Transport, protocol: HttpToolsProtocol) -> None:
        self._within = within
        self._protocol: HttpToolsProtocol | None = protocol
        self._head = b""
        self._answered: object = None

    def write(self, data: bytes) -> None:
        """Send it, or keep it if it is such a head."""
        if self._head:
            if len(data) <= MOST:
                data = self._head + data
            else:
                self._within.write(self._head)
            self._head = b""
        elif self._is_head():
            self._head = data
            return
        self._within.write(data)

    def close(self) -> None:
        """Send what is kept, and end the connection."""
        if self._head:
            self._within.write(self._head)
            self._head = b""
        self._within.close()

    def forget(self) -> None:
        """Send nothing that is kept: a transport whose connection is lost takes no more."""
        self._head = b""
        self._protocol = self._answered = None

    def is_closing(self) -> bool:
        """Has the connection ended, or is about to?"""
        return self._within.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def _is_head(self) -> bool:
        """Is this the first that the answer under way writes, with a body of known length next?"""
        cycle = None if self._protocol is None else self._protocol.cycle
        if cycle is None or cycle is self._answered or not cycle.response_started:
            return False
        self._answered = cycle
        return bool(cycle.expected_content_length) and cycle.scope["method"] != "HEAD"
