"""Starting `lethe`: each command a process of its own, from scratch or forked from a warm one."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
LETHE = str(Path(sys.executable).with_name("lethe"))


class Running(Protocol):
    """What a subprocess.Popen and a `Fork` have in common."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


class Launch(Protocol):
    """Starts a command in a session of its own. files: its stdin, stdout and stderr;
    crash_at: see tests.functional.crashing."""

    def __call__(
        self,
        arguments: Sequence[str],
        *,
        environment: dict[str, str],
        folder: Path,
        files: tuple[int, int, int],
        crash_at: str | None = None,
    ) -> Running: ...


def from_scratch(
    arguments: Sequence[str],
    *,
    environment: dict[str, str],
    folder: Path,
    files: tuple[int, int, int],
    crash_at: str | None = None,
) -> Running:
    """Execute it, as a user does."""
    armed = [sys.executable, "-m", "tests.functional.crashing", crash_at or ""]
    return subprocess.Popen(
        [*(armed if crash_at else [LETHE]), *arguments],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        start_new_session=True,
    )


@dataclass
class Fork:
    """A process that `tests.functional.warm` has forked and tells the end of, by `report`."""

    arguments: list[str]
    report: int
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, as subprocess has it, or None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; raises `subprocess.TimeoutExpired`."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout or 0.0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self.report], [], [], seconds)[0]:
            told = os.read(self.report, 4)
            os.close(self.report)
            assert told, "the process that forks for the tests has died"
            self.returncode = int.from_bytes(told, "big", signed=True)
        return self.returncode


@contextmanager
def warm() -> Iterator[Launch]:
    """Forks from a process that has loaded PyTorch and the rest; that one ends with the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.functional.warm", str(theirs.fileno())],
        env=_without(os.environ, "LETHE_", "COVERAGE_") | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    lock = threading.Lock()

    def launch(
        arguments: Sequence[str],
        *,
        environment: dict[str, str],
        folder: Path,
        files: tuple[int, int, int],
        crash_at: str | None = None,
    ) -> Running:
        wanted = {
            "arguments": list(arguments),
            "environment": environment,
            "folder": str(folder),
            "crash_at": crash_at,
        }
        report, told = os.pipe()
        with lock:
            socket.send_fds(ours, [json.dumps(wanted).encode()], [*files, told])
        os.close(told)
        pid = os.read(report, 4)
        assert pid, "the process that forks for the tests has died"
        return Fork(list(arguments), report, int.from_bytes(pid, "big"))

    try:
        yield launch
    finally:
        ours.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _without(variables: os._Environ[str], *prefixes: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not name.startswith(prefixes)}
