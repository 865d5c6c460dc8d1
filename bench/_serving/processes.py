"""A server and all that belongs to it: started, waited for, weighed, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that answers; its processes are the one that was started and all below it."""

    popen: subprocess.Popen[bytes]
    port: int
    log: Path

    def cpu_seconds(self) -> float:
        """CPU time so far of every process of it, and of their children that ended."""
        return sum(_cpu(pid) for pid in _family(self.popen.pid))

    def memory_mb(self) -> float:
        """Resident memory of every process of it; what they share counts in each."""
        pages = sum(_resident(pid) for pid in _family(self.popen.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    call: urllib.request.Request,
    folder: Path,
) -> Iterator[Server]:
    """Start it in `folder`, and wait until `call` is answered with 200."""
    log = folder / "server.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(popen, port, log)
    try:
        _wait(server, call)
        yield server
    finally:
        _end(popen)


def _wait(server: Server, call: urllib.request.Request) -> None:
    until = time.monotonic() + 90
    said = "nothing"
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(call, timeout=10):
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read()[:500].decode(errors='replace')}"
        except OSError as error:
            said = str(error)
        if server.popen.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the server answers {said}:\n{server.log.read_text()[-3000:]}")


def _end(popen: subprocess.Popen[bytes]) -> None:
    family = _family(popen.pid)
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(15)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
    for pid in family:  # what it left behind
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def machine_cpu_seconds() -> float:
    """CPU time that everything on the machine has used since it started, waiting left out."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, soft, *_ = map(int, fields)
    return (user + nice + system + irq + soft) / TICKS


def _family(pid: int) -> list[int]:
    """The process and all below it."""
    children = ""
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = " ".join((task / "children").read_text() for task in tasks)
    return [pid, *(below for child in children.split() for below in _family(int(child)))]


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the third on (state, parent, ...); none when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu(pid: int) -> float:
    return sum(int(ticks) for ticks in _fields(pid)[11:15]) / TICKS


def _resident(pid: int) -> int:
    return int((_fields(pid)[21:22] or ["0"])[0])
