"""Head and body travel together where the body is at hand, and the bytes are Uvicorn's."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from lethe.joining import MOST, JoiningProtocol

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written, one item a packet."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        if data:
            self.packets.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def answering(*bodies: bytes, length: int | None = None, fails: bool = False) -> Callable[..., Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await asyncio.sleep(0)
        if fails:
            raise RuntimeError("in the middle")
        for at, body in enumerate(bodies):
            more = at + 1 < len(bodies)
            await send({"type": "http.response.body", "body": body, "more_body": more})

    return app


def asked(
    app: Callable[..., Any],
    call: bytes = GET,
    kind: type[HttpToolsProtocol] = JoiningProtocol,
) -> tuple[Wire, HttpToolsProtocol]:
    """A connection that has just been sent a call; to be made where a loop runs."""
    wire = Wire()
    config = Config(app, log_config=None, access_log=False, date_header=False)
    protocol = kind(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.data_received(call)
    return wire, protocol


def sent(kind: type[HttpToolsProtocol], app: Callable[..., Any], call: bytes) -> Wire:
    async def run() -> Wire:
        wire, protocol = asked(app, call, kind)
        for _ in range(30):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return wire

    return asyncio.run(run())


LARGE = b"x" * (MOST + 1)

CASES = {
    "an answer": (answering(b"whole", length=5), GET, 1),
    "one after another": (answering(b"whole", length=5), GET + GET + GET, None),
    "asked in two parts": (
        answering(b"whole", length=5),
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        2,
    ),
    "a body in parts": (answering(b"in ", b"par", b"ts", length=8), GET, 3),
    "a large body": (answering(LARGE, length=len(LARGE)), GET, 2),
    "a stream": (answering(b"event", b"event"), GET, 3),
    "a head alone": (answering(b"whole", length=5), GET.replace(b"GET", b"HEAD"), 1),
    "nothing": (answering(b"", length=0), GET, 1),
    "broken off": (answering(length=5, fails=True), GET, 1),
    "too short": (answering(b"no", length=5), GET, None),
    "no answer": (answering(length=5), GET, 1),
    "no HTTP": (answering(), b"what?\r\n\r\n", 1),
    "closed after": (
        answering(b"whole", length=5), GET.replace(b"Host: x", b"Connection: close"), 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_in_fewer_packets(case: str) -> None:
    app, asked, packets = CASES[case]
    ours, theirs = (sent(kind, app, asked) for kind in (JoiningProtocol, HttpToolsProtocol))
    assert b"".join(ours.packets) == b"".join(theirs.packets)
    assert ours.closed == theirs.closed
    assert packets is None or len(ours.packets) == packets
    assert len(ours.packets) <= len(theirs.packets)


def test_a_stream_begins_before_its_first_event() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    async def run() -> Wire:
        wire, _ = asked(silent)
        for _ in range(5):
            await asyncio.sleep(0)
        return wire

    assert asyncio.run(run()).packets[0].startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_without_its_body_is_dropped_with_the_connection() -> None:
    body = asyncio.Event()
    ended: list[asyncio.Task[Any]] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        ended.append(asyncio.current_task())  # type: ignore[arg-type]
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await body.wait()
        raise RuntimeError("nobody is there")

    async def run() -> Wire:
        wire, protocol = asked(late)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        protocol.connection_lost(ConnectionResetError())
        wire.closed = True  # what is written now fails the call
        body.set()
        await ended[0]
        return wire

    assert asyncio.run(run()).packets == []


def test_a_connection_that_is_lost_leaves_no_circle() -> None:
    """Garbage collection may come late: a service with many short connections would grow."""

    async def run() -> weakref.ref[HttpToolsProtocol]:
        _, protocol = asked(answering(b"{}", length=2))
        for _ in range(30):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return weakref.ref(protocol)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()
