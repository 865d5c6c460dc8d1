"""Assembly: the only place that knows every part of the service."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import OperationalError
from starlette.datastructures import State
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Scope

from core import startup, tracing
from core.backend import open_backend
from core.desk import Desk
from core.errors import LetheError
from core.settings import Settings
from service import errors, headers, openapi
from service.admin.app import create_admin
from service.admin.sessions import Sealer
from service.api import (
    bulk,
    certificates,
    deliveries,
    erasure_requests,
    health,
    jobs,
    keys,
    legal_holds,
    models,
    opendsr,
    status,
    webhook_secrets,
)
from service.api.busy import Busy
from service.door import Door
from service.keyring import Keyring
from service.keyuse import KeyUse
from service.limiting import Limiter
from service.metrics import Metrics
from service.middleware import RequestShell, Shortcut
from service.pages import docs
from service.watcher import Watcher

Role = Literal["all", "api", "inference"]

_API = (
    erasure_requests,
    bulk,
    deliveries,
    legal_holds,
    jobs,
    models,
    certificates,
    keys,
    webhook_secrets,
    opendsr,
    status,
)

DESCRIPTION = """\
Lethe makes served models forget. Post an erasure request; follow its jobs; fetch the
certificate at the end. Errors are `application/problem+json` with a stable `code`.
"""


def create_app(
    settings: Settings, role: Role = "all", *, board: Path | None = None, processes: int = 1
) -> FastAPI:
    """The service: the API, the inference endpoint, or both; of one process, or of one of several
    `processes` behind one socket, which share a `board` (see `service.inference.board`).

    Nothing is opened before the application starts. Then `app.state` has `backend`,
    `watcher`, `loader` (roles that predict) and `first_key` (embedded mode). A start that
    cannot be, such as a database that waits for `lethe db upgrade`, ends in one line.
    """
    app = FastAPI(
        title="Lethe",
        version=version("lethe"),
        description=DESCRIPTION,
        lifespan=_lifespan(settings, role),
        docs_url=None,
        redoc_url=None,
        # Spans are core.tracing's: the framework's would carry whole paths, and cost every call.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state = _Shared()
    app.state.settings = settings
    app.state.role = role
    app.state.board, app.state.processes = board, processes
    app.include_router(health.router)
    if role in ("all", "api"):
        for noun in _API:
            app.include_router(noun.router)
        app.mount("/admin", create_admin(app.state))
    if role in ("all", "inference"):
        from service.inference import routes  # the API alone never imports torch
        from service.inference.open_inference import OpenInference

        predict = routes.route()
        app.router.routes.insert(0, predict)
        protocol = OpenInference()
        app.router.routes.append(protocol)
    errors.install(app)
    openapi.install(app)
    docs.install(app)
    if role in ("all", "api"):
        app.add_middleware(Busy)
    app.add_middleware(Door, max_json_depth=settings.max_json_depth)
    app.add_middleware(
        RequestShell, max_body_bytes=settings.max_body_bytes, headers=headers.of(settings)
    )
    if role in ("all", "inference"):
        _shorten(app, predict, predict.app, routes.takes)
        _shorten(app, protocol, protocol.handle, protocol.takes)
    headers.admit_origins(app, settings)
    return app


class _Shared(State):
    """What the parts of the service share, as ordinary attributes.

    `State` keeps them in a dictionary of its own, which is asked only after an ordinary look-up
    has failed: ten times as dear, and a prediction looks six times.
    """

    def __init__(self) -> None:
        super().__init__(self.__dict__)


def _shorten(
    app: FastAPI, route: BaseRoute, endpoint: ASGIApp, takes: Callable[[Scope], bool]
) -> None:
    """Let calls of this route pass by the framework's middleware and its search for a route."""
    within = app.build_middleware_stack

    def stack() -> ASGIApp:
        settings: Settings = app.state.settings
        shell = RequestShell(
            endpoint, settings.max_body_bytes, headers.of(settings), tell_all=False
        )
        return Shortcut(within(), shell, route, takes)

    app.build_middleware_stack = stack  # type: ignore[method-assign]  # made at the first call


def _lifespan(settings: Settings, role: Role) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = app.state
        async with AsyncExitStack() as opened:
            with _said_in_one_line(app):
                state.backend = await run_in_threadpool(open_backend, settings)
                opened.callback(state.backend.close)
                state.first_key = await run_in_threadpool(startup.prepare, state.backend)
                tracing.configure("lethe")
            db = state.backend.db
            state.desk = Desk(state.backend)
            state.desk.start()
            opened.push_async_callback(run_in_threadpool, state.desk.close)
            opened.push_async_callback(run_in_threadpool, tracing.close)
            state.metrics = Metrics(db, settings.due_warning_days)
            state.key_use = KeyUse(db)
            opened.push_async_callback(run_in_threadpool, state.key_use.close)
            state.limiter = Limiter(settings, state.backend.identities)
            opened.push_async_callback(state.limiter.close)
            state.keyring = Keyring(
                db,
                state.key_use,
                limiter=state.limiter,
                fresh=settings.poll_seconds,
                stale=settings.replica_lease_seconds,
            )
            state.sealer = Sealer(settings.secret_bytes)
            state.watcher = Watcher(db, settings.poll_seconds)
            state.watcher.start()
            opened.push_async_callback(state.watcher.stop)
            drain = min(settings.drain_seconds, settings.grace_seconds)
            opened.enter_context(_drained_by_signals(state.watcher, drain))
            if role != "api":
                await run_in_threadpool(_start_loader, app)
                opened.push_async_callback(run_in_threadpool, state.loader.stop)
                opened.push_async_callback(run_in_threadpool, state.inference.close)
            yield

    return lifespan


@contextmanager
def _said_in_one_line(app: FastAPI) -> Iterator[None]:
    """Keep what stands against a start, for RequestShell to say instead of a traceback."""
    try:
        yield
    except LetheError as error:
        app.state.cannot_start = str(error)
        raise
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        app.state.cannot_start = f"the database does not answer: {reason}"
        raise


def _start_loader(app: FastAPI) -> None:
    from service.inference.engine import Inference
    from service.inference.loader import Loader

    state = app.state
    state.loader = Loader(state.backend, state.board, state.processes)
    state.inference = Inference(state.loader, state.settings)
    state.loader.start()


@contextmanager
def _drained_by_signals(watcher: Watcher, seconds: float) -> Iterator[None]:
    """Told to stop, end the waits at once, and let the server know only `seconds` later.

    Meanwhile all is answered, /readyz with 503 and every connection for the last time, so that
    whoever spreads the calls goes elsewhere before the server stops to listen. A server first
    waits for open calls and only then ends the lifespan: a long-poll would hold it up for a
    minute. A second signal is the server's at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # a server in a side thread is stopped by other means
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        assert callable(handler)
        again = watcher.closing
        loop.call_soon_threadsafe(watcher.release)
        if again or not seconds:
            handler(number, frame)
        else:
            loop.call_soon_threadsafe(loop.call_later, seconds, handler, number, None)

    taken = [number for number, handler in before.items() if callable(handler)]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
