"""A service on PostgreSQL and Redis, with a model of many subjects, and nobody who works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from core import keys, migrate, rates
from core.backend import open_backend
from core.settings import Settings
from tests import factories, servers

SECRET = "a secret of at least sixteen characters"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Scene:
    """Where the service listens, a key for it, the id of its process, and its database's URL."""

    port: int
    key: str
    service: int
    database: str

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far of the service's processes and of PostgreSQL's."""
        with psycopg.connect(self.database) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            postmaster = int(_fields(row[0])[1])
            return {
                "service": cpu_of(self.service),
                "database": cpu_of(postmaster),
            }


@contextmanager
def running(subjects: int, workers: int) -> Iterator[Scene]:
    """A service with a model whose data set has this many subjects, two samples each."""
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="lethe-intake-")))
        server = opened.enter_context(servers.postgres())
        _durable(server)
        database = opened.enter_context(servers.postgres_database(server))
        broker = opened.enter_context(servers.redis_server())
        settings = Settings(home=home, secret=SECRET, database_url=database, broker_url=broker)  # type: ignore[arg-type]  # pydantic checks
        backend = open_backend(settings)
        migrate.upgrade(backend.db)
        dataset = factories.make_dataset(backend, subjects=subjects)
        factories.make_model(backend, dataset)
        with backend.db.transaction() as tx:
            _, key = keys.create(tx, "bench", ["erase", "read"])
        backend.close()
        process, port = opened.enter_context(_service(home, database, broker, workers))
        yield Scene(port, key, process, database)


def _durable(server: str) -> None:
    # Tests turn this off; a 202 that a power cut takes back would be fast for nothing.
    with psycopg.connect(server, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = on")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _service(home: Path, database: str, broker: str, workers: int) -> Iterator[tuple[int, int]]:
    port = servers.free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    environment = kept | {
        "LETHE_HOME": str(home),
        "LETHE_SECRET": SECRET,
        "LETHE_DATABASE_URL": database,
        "LETHE_BROKER_URL": broker,
        **{f"LETHE_{name.upper()}": "off" for name in rates.SETTINGS},
    }
    command = [sys.executable, "-m", "lethe", "serve", "--role", "api", "--port", str(port)]
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", str(workers)], env=environment, stdout=log, stderr=log
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", process)
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the address answers 200; the process must not end meanwhile."""
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        assert process.poll() is None, f"the service ended with {process.returncode}"
        assert time.monotonic() < until, "the service is not ready"
        time.sleep(0.1)


def cpu_of(pid: int) -> float:
    """Seconds of CPU so far of a process and all below it."""
    return sum(_cpu(each) for each in _family(pid))


def _family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the third on: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    """Its own seconds of CPU, and those of its children that have ended."""
    try:
        return sum(int(ticks) for ticks in _fields(pid)[11:15]) / TICKS
    except FileNotFoundError:
        return 0.0
