"""The service and the worker as child processes, ended by id whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from core.errors import LetheError

_KEPT = ("LETHE_DEVICE", "LETHE_DEBUG")  # what a demo takes from the user's own settings
_PATIENCE = 20.0  # seconds that a child has to end by itself


@dataclass
class Child:
    """One running command and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `LetheError`, with the last line it wrote, if it has ended."""
        status = self.process.poll()
        if status is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["(nothing)"]
            raise LetheError(
                f"`lethe {self.name}` ended with status {status}, see {self.log}: {lines[-1]}"
            )


@dataclass
class Children:
    """Children of one home; leaving the block ends every one of them."""

    home: Path
    _running: list[Child] = field(default_factory=list)

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def start(self, *command: str) -> Child:
        """Start `lethe COMMAND...` for this home."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("LETHE_") or name in _KEPT
        }
        log = self.home / f"{command[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # this program itself
                [sys.executable, "-m", "lethe.demo.child", *command],
                env={**environment, "LETHE_HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
            )
        child = Child(command[0], process, log)
        self._running.append(child)
        return child

    def check(self) -> None:
        """Raise `LetheError` if one has ended."""
        for child in self._running:
            child.check()

    def end(self) -> None:
        """SIGTERM to each, then SIGKILL to what is left after some seconds."""
        try:
            for child in self._running:
                if child.process.poll() is None:
                    child.process.terminate()
            until = time.monotonic() + _PATIENCE
            for child in self._running:
                child.process.wait(max(0.1, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            for child in self._running:
                _kill(child)
            self._running.clear()


def _kill(child: Child) -> None:
    """End the child's whole session: a worker has children of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
