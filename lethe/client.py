"""The Python clients: `from lethe import Client, AsyncClient`.

Their calls are those of `lethe.calls`; a call that is added there is added here, to both.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import httpx

from lethe import calls
from lethe.flow import ApiError, Flow, Stream
from lethe.home import api_key as default_key
from lethe.home import service_url
from lethe.transport import AsyncTransport, Transport

__all__ = ["ApiError", "AsyncClient", "Client"]

P = ParamSpec("P")
T = TypeVar("T")


def _does(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(flow(*args, **kwargs))

    return _named(method, flow)


def _lists(stream: Callable[P, Stream[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._transport.iterate(stream(*args, **kwargs))

    return _named(method, stream)


def _awaits(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transport.run(flow(*args, **kwargs))

    return _named(method, flow)


def _streams(
    stream: Callable[P, Stream[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._transport.iterate(stream(*args, **kwargs))

    return _named(method, stream)


M = TypeVar("M", bound=Callable[..., object])


def _named(method: M, call: Callable[..., object]) -> M:
    """The method with the name, docstring and parameters of its call."""
    functools.update_wrapper(method, call)
    signature = inspect.signature(call)
    myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by `inspect`
        parameters=[myself, *signature.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    return method


class Client:
    """A Lethe service, over HTTP.

    url: by default LETHE_URL, or http://127.0.0.1:8000. api_key: by default LETHE_API_KEY, or
    the key that the embedded mode keeps under LETHE_HOME. Calls are repeated where that is
    safe; each erasure request carries an Idempotency-Key, so it is.

        with Client() as lethe:
            request = lethe.erase("digits", subject_id="subject-7")
            print(lethe.wait(request).outcome)

    Every method raises `lethe.ApiError` when the service refuses, and
    `core.errors.Unavailable` when it does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(
            url or service_url(),
            api_key if api_key is not None else default_key(),
            timeout=timeout,
            retries=retries,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    erase = _does(calls.erase)
    erase_many = _does(calls.erase_many)
    erasure_request = _does(calls.erasure_request)
    erasure_requests = _lists(calls.erasure_requests)
    cancel = _does(calls.cancel)
    reject = _does(calls.reject)
    extend = _does(calls.extend)
    status_link = _does(calls.status_link)
    answer = _does(calls.answer)
    certificate = _does(calls.certificate)
    certificate_page = _does(calls.certificate_page)
    certificate_key = _does(calls.certificate_key)
    wait = _does(calls.wait)

    hold = _does(calls.hold)
    holds = _lists(calls.holds)
    release_hold = _does(calls.release_hold)

    job = _does(calls.job)
    jobs = _lists(calls.jobs)
    follow = _lists(calls.follow)
    approve_job = _does(calls.approve_job)
    reject_job = _does(calls.reject_job)
    retry_job = _does(calls.retry_job)
    cancel_job = _does(calls.cancel_job)

    predict = _does(calls.predict)
    models = _does(calls.models)
    model = _does(calls.model)
    versions = _does(calls.versions)
    change_policy = _does(calls.change_policy)
    rollback = _does(calls.rollback)

    api_keys = _does(calls.api_keys)
    create_key = _does(calls.create_key)
    rotate_key = _does(calls.rotate_key)
    revoke_key = _does(calls.revoke_key)

    deliveries = _lists(calls.deliveries)
    deliveries_of = _lists(calls.deliveries_of)
    replay_delivery = _does(calls.replay_delivery)
    webhook_secret = _does(calls.webhook_secret)
    rotate_webhook_secret = _does(calls.rotate_webhook_secret)

    alive = _does(calls.alive)
    ready = _does(calls.ready)
    readiness = _does(calls.readiness)
    warnings = _does(calls.warnings)
    metrics = _does(calls.metrics)


class AsyncClient:
    """The same service, for asyncio. Every call of `Client`, awaited; lists are iterated.

    async with AsyncClient() as lethe:
        request = await lethe.erase("digits", subject_id="subject-7")
        print((await lethe.wait(request)).outcome)
        async for job in lethe.jobs(status="running"):
            print(job.id)
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = AsyncTransport(
            url or service_url(),
            api_key if api_key is not None else default_key(),
            timeout=timeout,
            retries=retries,
            transport=transport,
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._transport.close()

    erase = _awaits(calls.erase)
    erase_many = _awaits(calls.erase_many)
    erasure_request = _awaits(calls.erasure_request)
    erasure_requests = _streams(calls.erasure_requests)
    cancel = _awaits(calls.cancel)
    reject = _awaits(calls.reject)
    extend = _awaits(calls.extend)
    status_link = _awaits(calls.status_link)
    answer = _awaits(calls.answer)
    certificate = _awaits(calls.certificate)
    certificate_page = _awaits(calls.certificate_page)
    certificate_key = _awaits(calls.certificate_key)
    wait = _awaits(calls.wait)

    hold = _awaits(calls.hold)
    holds = _streams(calls.holds)
    release_hold = _awaits(calls.release_hold)

    job = _awaits(calls.job)
    jobs = _streams(calls.jobs)
    follow = _streams(calls.follow)
    approve_job = _awaits(calls.approve_job)
    reject_job = _awaits(calls.reject_job)
    retry_job = _awaits(calls.retry_job)
    cancel_job = _awaits(calls.cancel_job)

    predict = _awaits(calls.predict)
    models = _awaits(calls.models)
    model = _awaits(calls.model)
    versions = _awaits(calls.versions)
    change_policy = _awaits(calls.change_policy)
    rollback = _awaits(calls.rollback)

    api_keys = _awaits(calls.api_keys)
    create_key = _awaits(calls.create_key)
    rotate_key = _awaits(calls.rotate_key)
    revoke_key = _awaits(calls.revoke_key)

    deliveries = _streams(calls.deliveries)
    deliveries_of = _streams(calls.deliveries_of)
    replay_delivery = _awaits(calls.replay_delivery)
    webhook_secret = _awaits(calls.webhook_secret)
    rotate_webhook_secret = _awaits(calls.rotate_webhook_secret)

    alive = _awaits(calls.alive)
    ready = _awaits(calls.ready)
    readiness = _awaits(calls.readiness)
    warnings = _awaits(calls.warnings)
    metrics = _awaits(calls.metrics)
