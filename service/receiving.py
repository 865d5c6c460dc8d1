"""A call's body, from ASGI's messages."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive


async def whole_body(receive: Receive) -> bytes:
    """All of it; `RequestShell` sees to it that it is not too long.

    Raises `ClientDisconnect` when the client leaves before it has sent it.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    chunks = []
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
    raise ClientDisconnect


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive`, which gives a body that was read already once more, and then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return waiting.pop() if waiting else await receive()

    return receiving
