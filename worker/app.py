"""Celery assembly: one engine and one sweeping thread in each child process.

The parent only watches over its children. Database, Lance and CUDA are opened after the
fork (worker_process_init): none of them survives one.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals

from core import logs, migrate, tracing
from core.backend import open_backend
from core.queue import TASK, celery_app
from core.settings import Settings


class Child:
    """What one child process holds, from its start to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._sweep: Any = None

    def open(self, **_: Any) -> None:
        """Open the backend and the device, start to sweep."""
        import torch

        from worker.engine import Engine, choose_device
        from worker.sweep import Sweep

        tracing.configure("lethe-worker")

        # Models here are small: one thread is the fastest, and leaves cores to the service.
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        backend = open_backend(self._settings)
        self._engine = Engine(backend, choose_device(self._settings.device))
        self._sweep = Sweep(backend, self._engine.owner)
        self._sweep.start()

    def work(self, woken_for: str) -> None:
        """The task's body."""
        from worker.tasks import work

        work(self._engine, woken_for)

    def close(self, **_: Any) -> None:
        """Stop sweeping, give connections back."""
        if self._sweep is not None:
            self._sweep.stop()
            self._engine.backend.close()
        tracing.close()


def make_app(settings: Settings) -> Celery:
    """The worker's Celery application, its task registered and its children prepared."""
    app = celery_app(settings)
    child = Child(settings)

    @app.task(name=TASK, ignore_result=True)
    def wake(woken_for: str) -> None:
        child.work(woken_for)

    # weak=False: nothing else holds a bound method.
    signals.setup_logging.connect(_logging_is_set_up, weak=False)
    signals.worker_process_init.connect(child.open, weak=False)
    signals.worker_process_shutdown.connect(child.close, weak=False)
    return app


def _logging_is_set_up(**_: Any) -> None:
    """That somebody listens keeps Celery from setting it up its own way."""


def main(settings: Settings, concurrency: int = 1) -> int:
    """Run a worker in this process until SIGTERM or SIGINT; returns its exit status.

    Embedded mode migrates the database first; production refuses one that is not current
    (`SettingsError`).
    """
    logs.configure(settings.log)
    prepare(settings)
    app = make_app(settings)
    worker = app.Worker(
        pool="prefork",
        concurrency=concurrency,
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def prepare(settings: Settings) -> None:
    """Check device and database before any child starts, so that errors are one line."""
    backend = open_backend(settings)
    try:
        if settings.embedded:
            migrate.upgrade(backend.db)
        else:
            migrate.require_current(backend.db)
    finally:
        backend.close()
