"""HTTP to the service: the two ways to run a flow, in the caller's thread or in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import httpx

from core.errors import LetheError
from lethe.flow import Ask, Flow, Give, Pause, Step, Stream, patient

T = TypeVar("T")

Steps = Generator[Step, httpx.Response, Any]
Resume = Callable[[], Step]
"""Goes on with a flow: raises StopIteration where it ends."""


class _Transport:
    """One connection pool to one service, with one key; `retries` of each call."""

    def __init__(self, url: str, key: str | None, *, timeout: float, retries: int) -> None:
        self._url, self._timeout, self._retries = url, timeout, retries
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def _steps(self, flow: Flow[Any] | Stream[Any]) -> tuple[Steps, Resume]:
        steps = patient(flow, self._url, self._retries)
        return steps, partial(next, steps)

    def _options(self, transport: Any) -> dict[str, Any]:
        return {
            "base_url": self._url,
            "headers": self._headers,
            "timeout": self._timeout,
            "transport": transport,
        }

    def _request(self, ask: Ask) -> dict[str, Any]:
        return {
            "method": ask.method,
            "url": ask.path,
            "json": ask.json,
            "params": {k: v for k, v in (ask.params or {}).items() if v is not None},
            "headers": ask.headers,
            "timeout": self._timeout + ask.extra_time,
        }

    def _no_address(self, error: Exception) -> LetheError:
        return LetheError(f"LETHE_URL {self._url!r} is not an address: {error}")


class Transport(_Transport):
    """Waits in the caller's thread."""

    def __init__(
        self, *where: Any, transport: httpx.BaseTransport | None = None, **how: Any
    ) -> None:
        super().__init__(*where, **how)
        try:
            self._http = httpx.Client(**self._options(transport))
        except (httpx.InvalidURL, TypeError) as error:
            raise self._no_address(error) from None

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns; raises `ApiError`, and `Unavailable` when nobody answers."""
        steps, resume = self._steps(flow)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return cast(T, end.value)
            resume = self._done(steps, step)

    def iterate(self, stream: Stream[T]) -> Iterator[T]:
        """What the stream gives."""
        steps, resume = self._steps(stream)
        while True:
            try:
                step = resume()
            except StopIteration:
                return
            if isinstance(step, Give):
                yield step.item
                resume = partial(next, steps)
            else:
                resume = self._done(steps, step)

    def _done(self, steps: Steps, step: Step) -> Resume:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return partial(next, steps)
        assert isinstance(step, Ask)
        try:
            return partial(steps.send, self._http.request(**self._request(step)))
        except httpx.RequestError as error:
            return partial(steps.throw, error)


class AsyncTransport(_Transport):
    """Waits in asyncio's event loop. The same as `Transport`, line by line."""

    def __init__(
        self, *where: Any, transport: httpx.AsyncBaseTransport | None = None, **how: Any
    ) -> None:
        super().__init__(*where, **how)
        try:
            self._http = httpx.AsyncClient(**self._options(transport))
        except (httpx.InvalidURL, TypeError) as error:
            raise self._no_address(error) from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """What the flow returns; raises `ApiError`, and `Unavailable` when nobody answers."""
        steps, resume = self._steps(flow)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return cast(T, end.value)
            resume = await self._done(steps, step)

    async def iterate(self, stream: Stream[T]) -> AsyncIterator[T]:
        """What the stream gives."""
        steps, resume = self._steps(stream)
        while True:
            try:
                step = resume()
            except StopIteration:
                return
            if isinstance(step, Give):
                yield step.item
                resume = partial(next, steps)
            else:
                resume = await self._done(steps, step)

    async def _done(self, steps: Steps, step: Step) -> Resume:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return partial(next, steps)
        assert isinstance(step, Ask)
        try:
            return partial(steps.send, await self._http.request(**self._request(step)))
        except httpx.RequestError as error:
            return partial(steps.throw, error)
