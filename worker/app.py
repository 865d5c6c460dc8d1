"""Celery assembly: one engine and one sweeping thread in each child process.

The parent only watches over its children. Database, Lance and CUDA are opened after the
fork (worker_process_init): none of them survives one.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from celery import Celery, signals
from celery.apps.worker import Worker
from celery.worker import state as celery_state

from core import deadlines, garbage, logs, migrate, rotation, tracing
from core.backend import open_backend
from core.demands import classes
from core.queue import TASK, celery_app, queue_of
from core.settings import Settings
from worker.closing import Closing

log = logging.getLogger(__name__)

LEAST_GRACE = 10.0
"""Seconds that the process gets at least: once no job is held, its pool still has to wind up."""


class Child:
    """What one child process holds, from its start to its end."""

    def __init__(self, settings: Settings, closing: Closing) -> None:
        self._settings, self._closing = settings, closing
        self._engine: Any = None
        self._sweep: Any = None
        self._courier: Any = None
        self._work: Any = None

    def open(self, **_: Any) -> None:
        """Open the backend and the device, start to sweep and to call back."""
        import torch

        from worker.courier import Courier
        from worker.engine import Engine, choose_device
        from worker.sweep import Sweep
        from worker.tasks import work  # here, so that no first job waits for what it imports

        # Some send SIGTERM to every process of a service: the parent alone decides on its end.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tracing.configure("lethe-worker")

        # Models here are small: one thread is the fastest, and leaves cores to the service.
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        backend = open_backend(self._settings)
        self._engine = Engine(backend, choose_device(self._settings.device), self._closing)
        self._work = work
        self._sweep = Sweep(backend, self._engine.owner, lambda: self._engine.offer)
        self._sweep.start()
        self._courier = Courier(backend, self._engine.owner)
        self._courier.start()
        garbage.settle()

    def work(self, woken_for: str) -> None:
        """The task's body."""
        self._work(self._engine, woken_for)

    def close(self, **_: Any) -> None:
        """Stop sweeping and calling back, give connections back."""
        if self._sweep is not None:
            self._courier.stop()
            self._sweep.stop()
            self._engine.backend.close()
        tracing.close()


class Stop:
    """What SIGTERM and SIGINT do to the parent; by Celery's own handlers SIGINT is a failure.

    The first ends the worker once its jobs are done; after half the grace they are handed back
    at their next step, which leaves the other half to reach one. The second hands them back at
    once. The third ends the process where it stands, as does the grace when it is over: children
    die with it (PR_SET_PDEATHSIG, set by Celery), and leases run out as after any crash.
    """

    def __init__(self, closing: Closing, grace_seconds: float) -> None:
        self._closing, self._grace = closing, grace_seconds
        self._asked = 0

    def install(self) -> None:
        """Take the signals over; called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._asked += 1
        if self._asked > 2:
            os._exit(128 + number)
        self._closing.begin(self._grace / 2 if self._asked == 1 else 0.0)
        celery_state.should_stop = os.EX_OK  # type: ignore[assignment]  # stubs know only None
        if self._asked == 1:
            over = threading.Timer(max(self._grace, LEAST_GRACE), self._give_up)
            over.daemon = True
            over.start()

    def _give_up(self) -> None:
        log.error(
            "a job did not reach its next step within LETHE_GRACE_SECONDS=%g: this worker ends "
            "now, and another takes the job over once its lease has run out",
            self._grace,
        )
        os._exit(1)


class Parent(Worker):
    """Celery's worker, with our signal handlers in place of its own."""

    def __init__(self, app: Celery, stop: Stop, **options: Any) -> None:
        self._stop = stop
        super().__init__(app=app, **options)

    def install_platform_tweaks(self, _: Any) -> None:
        self._stop.install()


def make_app(settings: Settings, closing: Closing) -> Celery:
    """The worker's Celery application, its task registered and its children prepared."""
    app = celery_app(settings)
    child = Child(settings, closing)

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
    """Run a worker in this process until SIGTERM or SIGINT; 0 when it stopped as it was asked.

    Embedded mode migrates the database first; production refuses one that is not current
    (`SettingsError`).
    """
    logs.configure(settings.log)
    prepare(settings)
    closing = Closing()
    worker = Parent(
        make_app(settings, closing),
        Stop(closing, settings.grace_seconds),
        pool="prefork",
        concurrency=concurrency,
        queues=[queue_of(name) for name in sorted(classes(settings.worker_classes) or ())] or None,
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
    if words := deadlines.gathers_too_long(settings.batch_seconds):
        log.warning(words)
    backend = open_backend(settings)
    try:
        if settings.embedded:
            migrate.upgrade(backend.db)
        else:
            migrate.require_current(backend.db)
        rotation.require_current(backend)
    finally:
        backend.close()
