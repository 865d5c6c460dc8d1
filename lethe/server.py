"""Running the HTTP service: socket first, so that a taken port is one line."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.supervisors import Multiprocess

from core import first_key, logs
from core.errors import Invalid, LetheError
from core.settings import Settings, read_settings
from lethe.console import note
from lethe.home import opened_with
from lethe.stopping import Terminated

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.app import Role

ROLES = ("all", "api", "inference")
_ROLE = "LETHE_SERVE_ROLE"  # how a worker process of --workers learns its role


def run(host: str, port: int, workers: int, role: str) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is held and return.

    Raises `LetheError` when the port is taken or a part is missing.
    """
    if role not in ROLES:
        raise Invalid(f"--role {role!r} is not {', '.join(ROLES)}")
    settings = read_settings()
    logs.configure(settings.log, messages=False)
    listening = _listen(host, port)
    try:
        _prepare(settings)
        os.environ[_ROLE] = role
        # Requests run side by side; threads within each would only wait for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        config = uvicorn.Config(
            "lethe.server:application",
            factory=True,
            workers=workers,
            log_config=None,  # every process configures its own; see core.logs
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, int(settings.grace_seconds)),
            server_header=False,
        )
        shown, chosen = listening.getsockname()[:2]
        place = f"[{shown}]:{chosen}" if ":" in shown else f"{shown}:{chosen}"
        note(f"Serving on http://{place}")
        if workers > 1:
            with _counting_together():
                Multiprocess(config, sockets=[listening]).run()
            return
        server = uvicorn.Server(config)
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


@contextmanager
def _counting_together() -> Iterator[None]:
    """A folder in which processes started inside count calls and predictions for one another."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="lethe-metrics-") as folder:
        os.environ[name] = folder
        yield


def application() -> FastAPI:
    """The application of one process, as the environment says."""
    from service.app import create_app

    settings = read_settings()
    logs.configure(settings.log, messages=False)
    return create_app(settings, cast("Role", os.environ.get(_ROLE, "all")))


def _prepare(settings: Settings) -> None:
    """Database and key, once, before any process answers."""
    with opened_with(settings) as backend:
        if settings.embedded:
            key = first_key.ensure(backend.db, settings)
            if key.made:
                note(f"API key with all scopes: {key.text}")
            note(f"The API key is kept in {key.path}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise LetheError(f"--host {host}: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise LetheError(
            f"cannot listen on {host}:{port}: {reason}; choose another --port"
        ) from None
    listening.set_inheritable(True)
    return listening
