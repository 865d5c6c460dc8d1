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

    erase = _does(calls.erasure_requests.erase)
    erase_many = _does(calls.erasure_requests.erase_many)
    erasure_request = _does(calls.erasure_requests.erasure_request)
    erasure_requests = _lists(calls.erasure_requests.erasure_requests)
    cancel = _does(calls.erasure_requests.cancel)
    reject = _does(calls.erasure_requests.reject)
    extend = _does(calls.erasure_requests.extend)
    status_link = _does(calls.erasure_requests.status_link)
    answer = _does(calls.erasure_requests.answer)
    certificate = _does(calls.erasure_requests.certificate)
    certificate_page = _does(calls.erasure_requests.certificate_page)
    certificate_key = _does(calls.erasure_requests.certificate_key)
    wait = _does(calls.erasure_requests.wait)

    hold = _does(calls.legal_holds.hold)
    holds = _lists(calls.legal_holds.holds)
    release_hold = _does(calls.legal_holds.release_hold)

    job = _does(calls.jobs.job)
    jobs = _lists(calls.jobs.jobs)
    follow = _lists(calls.jobs.follow)
    approve_job = _does(calls.jobs.approve_job)
    reject_job = _does(calls.jobs.reject_job)
    retry_job = _does(calls.jobs.retry_job)
    cancel_job = _does(calls.jobs.cancel_job)

    predict = _does(calls.models.predict)
    models = _does(calls.models.models)
    model = _does(calls.models.model)
    versions = _does(calls.models.versions)
    change_policy = _does(calls.models.change_policy)
    rollback = _does(calls.models.rollback)

    api_keys = _does(calls.keys.api_keys)
    create_key = _does(calls.keys.create_key)
    rotate_key = _does(calls.keys.rotate_key)
    revoke_key = _does(calls.keys.revoke_key)

    deliveries = _lists(calls.callbacks.deliveries)
    deliveries_of = _lists(calls.callbacks.deliveries_of)
    replay_delivery = _does(calls.callbacks.replay_delivery)
    webhook_secret = _does(calls.callbacks.webhook_secret)
    rotate_webhook_secret = _does(calls.callbacks.rotate_webhook_secret)

    alive = _does(calls.system.alive)
    ready = _does(calls.system.ready)
    readiness = _does(calls.system.readiness)
    warnings = _does(calls.system.warnings)
    metrics = _does(calls.system.metrics)


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

    erase = _awaits(calls.erasure_requests.erase)
    erase_many = _awaits(calls.erasure_requests.erase_many)
    erasure_request = _awaits(calls.erasure_requests.erasure_request)
    erasure_requests = _streams(calls.erasure_requests.erasure_requests)
    cancel = _awaits(calls.erasure_requests.cancel)
    reject = _awaits(calls.erasure_requests.reject)
    extend = _awaits(calls.erasure_requests.extend)
    status_link = _awaits(calls.erasure_requests.status_link)
    answer = _awaits(calls.erasure_requests.answer)
    certificate = _awaits(calls.erasure_requests.certificate)
    certificate_page = _awaits(calls.erasure_requests.certificate_page)
    certificate_key = _awaits(calls.erasure_requests.certificate_key)
    wait = _awaits(calls.erasure_requests.wait)

    hold = _awaits(calls.legal_holds.hold)
    holds = _streams(calls.legal_holds.holds)
    release_hold = _awaits(calls.legal_holds.release_hold)

    job = _awaits(calls.jobs.job)
    jobs = _streams(calls.jobs.jobs)
    follow = _streams(calls.jobs.follow)
    approve_job = _awaits(calls.jobs.approve_job)
    reject_job = _awaits(calls.jobs.reject_job)
    retry_job = _awaits(calls.jobs.retry_job)
    cancel_job = _awaits(calls.jobs.cancel_job)

    predict = _awaits(calls.models.predict)
    models = _awaits(calls.models.models)
    model = _awaits(calls.models.model)
    versions = _awaits(calls.models.versions)
    change_policy = _awaits(calls.models.change_policy)
    rollback = _awaits(calls.models.rollback)

    api_keys = _awaits(calls.keys.api_keys)
    create_key = _awaits(calls.keys.create_key)
    rotate_key = _awaits(calls.keys.rotate_key)
    revoke_key = _awaits(calls.keys.revoke_key)

    deliveries = _streams(calls.callbacks.deliveries)
    deliveries_of = _streams(calls.callbacks.deliveries_of)
    replay_delivery = _awaits(calls.callbacks.replay_delivery)
    webhook_secret = _awaits(calls.callbacks.webhook_secret)
    rotate_webhook_secret = _awaits(calls.callbacks.rotate_webhook_secret)

    alive = _awaits(calls.system.alive)
    ready = _awaits(calls.system.ready)
    readiness = _awaits(calls.system.readiness)
    warnings = _awaits(calls.system.warnings)
    metrics = _awaits(calls.system.metrics)
