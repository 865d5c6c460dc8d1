"""A process that has loaded what Lethe takes from pip, and forks into `lethe` commands.

python -m tests.functional.warm SOCKET

PyTorch, SciPy, Celery and SQLAlchemy take most of a command's start: seconds, for each of the
some hundred processes of the functional tests. Here they are loaded once. Of Lethe itself
nothing is, nor anything that reads the environment on import or starts threads: a fork goes on
as a new `lethe` would, in a session of its own, with its own environment, folder and files.
tests/functional/launching.py asks for forks, one message each on a socket.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import NoReturn

LOADED = (
    "alembic.command",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "cryptography.hazmat.primitives.serialization",
    "fastapi",
    "httpx",
    "jinja2",
    "kombu.transport.filesystem",
    "kombu.transport.redis",
    "PIL.Image",
    "pydantic_settings",
    "rich.progress",
    "safetensors.numpy",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.datasets",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.orm",
    "structlog",
    "torch",
    "typer",
    "uvicorn.supervisors",
)


@dataclass(frozen=True)
class Wanted:
    """A command to become, as a message tells it. crash_at: see tests.functional.crashing."""

    arguments: list[str]
    crash_at: str | None
    environment: dict[str, str]
    folder: str

    def run(self) -> NoReturn:
        """Be the command."""
        os.setsid()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = ["lethe", *self.arguments]
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            import coverage

            coverage.process_startup()  # as coverage's .pth file does where Python starts
        if self.crash_at:
            from tests.functional.crashing import arm

            arm(self.crash_at)
        from lethe.__main__ import main

        main()


class Forks:
    """What was forked and still runs: process ids, and where the end of each is reported."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._reports: dict[int, int] = {}
        self._ended, self._ending = os.pipe()
        os.set_blocking(self._ending, False)

    def serve(self) -> Wanted | None:
        """Fork for each message, until the other side closes; returns a command in forks only."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who runs the tests
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ending)
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._ended], [], [])
            if self._ended in ready:
                os.read(self._ended, 4096)
                self._reap()
            if self._control.fileno() in ready:
                message, files, _, _ = socket.recv_fds(self._control, 1 << 20, 4)
                if not message:
                    return None
                if self._fork(files):
                    return Wanted(**json.loads(message))

    def _fork(self, files: list[int]) -> bool:
        """True in the fork. files: its stdin, stdout and stderr, and where to report."""
        *streams, report = files
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
            self._control.close()
            for each in (*files, *self._reports.values(), self._ended, self._ending):
                os.close(each)
            return True
        for stream in streams:
            os.close(stream)
        self._reports[pid] = report
        os.write(report, pid.to_bytes(4, "big"))
        return False

    def _reap(self) -> None:
        for pid in list(self._reports):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                report = self._reports.pop(pid)
                try:
                    code = os.waitstatus_to_exitcode(status)
                    os.write(report, code.to_bytes(4, "big", signed=True))
                except BrokenPipeError:  # nobody asks any more
                    pass
                os.close(report)


def main() -> None:
    """Load, then fork until nobody is left to ask."""
    for name in LOADED:
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    assert threads == 1, "a fork would lack the other threads"
    wanted = Forks(socket.socket(fileno=int(sys.argv[1]))).serve()
    if wanted is not None:
        wanted.run()


if __name__ == "__main__":
    main()
