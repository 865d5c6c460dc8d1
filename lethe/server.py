"""Running the HTTP service: socket first, so that a taken port is one line."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.supervisors import Multiprocess

from core import first_key, garbage, logs, production
from core.errors import Invalid, LetheError
from core.settings import Settings, read_settings
from lethe.console import note
from lethe.home import opened_with
from lethe.joining import JoiningProtocol
from lethe.listening import listen, turn_away
from lethe.stopping import Terminated
from service.inference.board import Board

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Lifespan

    from service.app import Role

ROLES = ("all", "api", "inference")
# What a process of --workers learns: its role, how much longer than its parent it drains,
_ROLE, _LONGER = "LETHE_SERVE_ROLE", "LETHE_SERVE_DRAINS_LONGER"
# where the versions in force are written, and how many processes there are.
_BOARD, _WORKERS = "LETHE_SERVE_BOARD", "LETHE_SERVE_WORKERS"

SETTLE_SECONDS = 0.2
"""How long those who have connected already have to be answered, once nobody else can."""
WORKERS_SETTLE_SECONDS = 0.5
"""The same where a process is told by its parent, which may be late."""

SWITCH_SECONDS = 0.0005
"""So long a thread that computes keeps others waiting; Python's own limit is ten times as long.

A call gives the interpreter up whenever it waits for the database or the network, and has to get
it back from the thread that takes requests in: a dozen times, for one status."""


def run(host: str, port: int, workers: int, role: str) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is held and return.

    Raises `LetheError` when the port is taken or a part is missing.
    """
    if role not in ROLES:
        raise Invalid(f"--role {role!r} is not {', '.join(ROLES)}")
    settings = read_settings()
    logs.configure(settings.log, messages=False)
    listening = listen(host, port)
    try:
        _prepare(settings)
        os.environ[_ROLE] = role
        os.environ[_LONGER] = str(WORKERS_SETTLE_SECONDS if workers > 1 else 0.0)
        trusted = production.proxies(settings.trusted_proxies)
        config = uvicorn.Config(
            "lethe.server:application",
            factory=True,
            workers=workers,
            log_config=None,  # every process configures its own; see core.logs
            log_level="warning",
            access_log=False,
            http=JoiningProtocol,
            timeout_graceful_shutdown=max(1, int(settings.grace_seconds)),
            server_header=False,
            proxy_headers=bool(trusted),
            forwarded_allow_ips=list(trusted),
        )
        shown, chosen = listening.getsockname()[:2]
        place = f"[{shown}]:{chosen}" if ":" in shown else f"{shown}:{chosen}"
        note(f"Serving on http://{place}")
        if workers > 1:
            with _sharing(workers):
                drain = min(settings.drain_seconds, settings.grace_seconds)
                _Workers(config, [listening], drain).run()
            return
        server = _Server(config)
        server.run(sockets=[listening])
        if not server.started:
            raise LetheError("the service could not start; the lines above say why")
    except (
        KeyboardInterrupt,
        Terminated,
    ):  # Uvicorn has finished what it held, then raises the signal again
        note("The service has stopped")
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """One process: it turns newcomers away before it stops to listen."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in sockets or []:
            turn_away(listening)
        for _ in range(10):  # turns of the loop, not only time: each takes up who waits
            await asyncio.sleep(SETTLE_SECONDS / 10)
        await super().shutdown(sockets)


class _Workers(Multiprocess):
    """Several: they share the socket, so that their parent must do so, and only at the end.

    (One that is replaced, on SIGHUP, leaves the socket to the others.)
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], drain_seconds: float
    ) -> None:
        super().__init__(config, sockets)
        self._drain_seconds = drain_seconds

    def terminate_all(self) -> None:
        super().terminate_all()
        time.sleep(self._drain_seconds)
        for listening in self.sockets:
            turn_away(listening)
            listening.close()  # theirs are the last


@contextmanager
def _sharing(workers: int) -> Iterator[None]:
    """What processes started inside share: counts of calls, and which version they answer from."""
    with tempfile.TemporaryDirectory(prefix="lethe-serve-") as folder:
        board = Path(folder) / "board"
        Board.make(board)
        os.environ[_BOARD], os.environ[_WORKERS] = str(board), str(workers)
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        yield


def application() -> FastAPI:
    """The application of one process, as the environment says."""
    from service.app import create_app

    sys.setswitchinterval(SWITCH_SECONDS)
    settings = read_settings()
    longer = float(os.environ.get(_LONGER, "0"))
    settings.drain_seconds += longer
    settings.grace_seconds += longer
    logs.configure(settings.log, messages=False)
    board = os.environ.get(_BOARD)
    app = create_app(
        settings,
        cast("Role", os.environ.get(_ROLE, "all")),
        board=Path(board) if board else None,
        processes=int(os.environ.get(_WORKERS, "1")),
    )
    app.router.lifespan_context = _settled(app.router.lifespan_context)
    return app


def _settled(lifespan: Lifespan[Any]) -> Lifespan[Any]:
    """Once all is loaded, no call waits for a search through it for garbage."""

    @asynccontextmanager
    async def started(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            garbage.settle()
            yield state

    return started


def _prepare(settings: Settings) -> None:
    """Database and key, once, before any process answers."""
    with opened_with(settings) as backend:
        if settings.embedded:
            key = first_key.ensure(backend.db, settings)
            if key.made:
                note(f"API key with all scopes: {key.text}")
            note(f"The API key is kept in {key.path}")
