"""The check of an address that is to be called back, before a request is taken in."""

from __future__ import annotations

from fastapi.concurrency import run_in_threadpool

from core.backend import Backend


async def check_callback(backend: Backend, url: str | None, where: str = "callback_url") -> None:
    """Raise `Invalid`, naming the field, for a URL that would not be called."""
    if url is not None:
        await run_in_threadpool(backend.outbound.check_named, url, where)
