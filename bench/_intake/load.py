"""An open loop of HTTP calls: each is sent when it is due, whether or not others are answered.

Latency counts from when a call was due, not from when a connection was free: what a slow answer
does to those behind it is part of what callers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

IDLE_SECONDS = 2.0
"""A connection that lay idle for longer may be closed by the server as a call is written."""


@dataclass(frozen=True)
class Answer:
    """One call: its status (0 when the connection broke), its body, its latency in ms."""

    status: int
    body: bytes
    ms: float


@dataclass
class Caller:
    """Keep-alive connections to one address, as many as are needed at once."""

    host: str
    port: int
    key: str
    _idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = field(
        default_factory=list
    )

    async def call(self, method: str, path: str, body: bytes, due: float) -> Answer:
        """One call; `due` by the event loop's clock."""
        loop = asyncio.get_running_loop()
        try:
            status, answer = await self._exchange(method, path, body)
        except (OSError, asyncio.IncompleteReadError):
            status, answer = 0, b""
        return Answer(status, answer, (loop.time() - due) * 1000)

    async def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        now = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[-1][0] > IDLE_SECONDS:
            self._idle.pop()[2].close()
        if self._idle:
            _, reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        answer = await reader.readexactly(length)
        self._idle.append((asyncio.get_running_loop().time(), reader, writer))
        return int(head.split(" ", 2)[1]), answer

    def close(self) -> None:
        """Close every connection."""
        for _, _, writer in self._idle:
            writer.close()


async def open_loop(
    caller: Caller, calls: Sequence[tuple[str, str, bytes]], rate: float
) -> list[Answer]:
    """Send `calls` (method, path, body) at `rate` a second; their answers in the same order."""
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.05
    sent = []
    for number, (method, path, body) in enumerate(calls):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        sent.append(asyncio.create_task(caller.call(method, path, body, due)))
    return list(await asyncio.gather(*sent))
