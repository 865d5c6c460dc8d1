"""A service with its dashboard, on PostgreSQL that holds years of work; somebody signed in."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench._dashboard.filling import Plan, Sample, fill, sample_of
from bench._intake.scene import SECRET, cpu_of, wait_for
from core import keys, migrate, registry, requests
from core.backend import Backend, open_backend
from core.db import database_now
from core.intake import NewRequest, submit
from core.records import Job, JobPlot
from core.settings import Settings
from tests import factories, servers
from tests.digits import train_digits
from worker import tasks
from worker.engine import Engine

MODELS = ("faces", "letters", "plates")


@dataclass(frozen=True)
class Scene:
    """Where the service listens, its process and settings, the key that signs in, what is there."""

    port: int
    process: int
    settings: Settings
    key: str
    plan: Plan
    rows: dict[str, int]

    def cpu_seconds(self) -> float:
        """CPU time so far of the service's processes."""
        return cpu_of(self.process)


@dataclass
class Client:
    """A browser without a screen: keeps its connection and its session."""

    port: int
    cookie: str = ""
    _connection: http.client.HTTPConnection | None = field(default=None)

    def sign_in(self, key: str) -> None:
        """Begin a session."""
        body = urllib.parse.urlencode({"key": key})
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self.port}",
        }
        answer = self._ask("POST", "/admin/sign-in", body, headers)
        assert answer.status == 303, f"could not sign in: {answer.status}"
        answer.read()
        self.cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def get(self, path: str) -> tuple[int, float, bytes]:
        """Status, milliseconds until all of it was there, and the page."""
        began = time.perf_counter()
        answer = self._ask("GET", path, None, {"Cookie": self.cookie})
        body = answer.read()
        return answer.status, (time.perf_counter() - began) * 1000, body

    def _ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()


@contextmanager
def running(wanted: int, jobs: int) -> Iterator[Scene]:
    """A service whose database holds so many requests and jobs."""
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="lethe-dashboard-")))
        server = opened.enter_context(servers.postgres())
        database = opened.enter_context(servers.postgres_database(server))
        settings = Settings(home=home, secret=SECRET, database_url=database)
        backend = open_backend(settings, send=lambda _: None)
        migrate.upgrade(backend.db)
        _say("running one real job")
        sample = _real_job(backend)
        _say("importing a data set")
        plan = _planned(backend, wanted, jobs, sample)
        _say(f"filling in {wanted:,} requests and {jobs:,} jobs")
        rows = fill(database, plan)
        with backend.db.transaction() as tx:
            _, key = keys.create(tx, "bench", ["read", "review", "admin", "predict"])
        backend.close()
        process, port = opened.enter_context(_service(home, database))
        yield Scene(port, process, settings, key, plan, rows)


def _real_job(backend: Backend) -> Sample:
    train_digits(backend)
    done = submit(backend, NewRequest(model="digits", subject_id="subject-trigger"), key_id=None)
    tasks.work(Engine(backend, "cpu"), "bench")
    with backend.db.reading() as session:
        job = session.get_one(Job, done.job_ids[0])
        assert job.state == "succeeded", f"the job is {job.state}: {job.error}"
        plot = session.get_one(JobPlot, job.id)
        return sample_of(job, plot, requests.certificate_of(session, done.request.id))


def _planned(backend: Backend, wanted: int, jobs: int, sample: Sample) -> Plan:
    dataset = factories.make_dataset(
        backend,
        "people",
        subjects=20_000,
        per_subject=3,
        shape=(1, 8, 8),
        classes=[str(n) for n in range(10)],
        chunk=2048,
    )
    models = [factories.make_model(backend, dataset, name, seed=n) for n, name in enumerate(MODELS)]
    with backend.db.transaction() as tx:
        firsts = []
        for model in models:
            version = registry.serving(tx.session, model.id)
            assert version is not None
            version.state = "destroyed"
            firsts.append((model.id, version.id))
    with backend.db.reading() as session:
        return Plan(wanted, jobs, dataset.id, firsts, database_now(session), sample)


@contextmanager
def _service(home: Path, database: str) -> Iterator[tuple[int, int]]:
    port = servers.free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    environment = kept | {
        "LETHE_HOME": str(home),
        "LETHE_SECRET": SECRET,
        "LETHE_DATABASE_URL": database,
    }
    command = [sys.executable, "-m", "lethe", "serve", "--role", "api", "--port", str(port)]
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", process)
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _say(what: str) -> None:
    print(what, file=sys.stderr)
