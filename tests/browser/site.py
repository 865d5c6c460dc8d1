"""A whole service in this process: pages and predictions behind a socket, jobs run when asked."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from core import jobs, keys, registry
from core.backend import Backend, open_backend
from core.intake import NewRequest, submit
from core.records import Job
from core.settings import Settings
from service.app import create_app
from service.watcher import Watcher
from tests.conftest import SECRET
from worker import tasks
from worker.engine import Engine


@dataclass(frozen=True)
class Site:
    """url: of the service, without a slash at its end. engine: a worker's, on the same home.

    app: the service's application.
    """

    url: str
    engine: Engine
    app: FastAPI

    @property
    def backend(self) -> Backend:
        """To look behind the pages."""
        return self.engine.backend

    @property
    def watcher(self) -> Watcher:
        """The service's, which knows how many follow a job."""
        watcher: Watcher = self.app.state.watcher
        return watcher

    def key(self, *scopes: str) -> str:
        """A new key's text."""
        with self.backend.db.transaction() as tx:
            _, text = keys.create(tx, "Ada Reviewer", list(scopes))
        return text

    def session(self, *scopes: str) -> str:
        """The cookie of somebody who has signed in with a new key."""
        sealed: str = self.app.state.sealer.seal(self.key(*scopes).partition(".")[0])
        return sealed

    def post(self, subject: str, external_id: str | None = None) -> tuple[str, str]:
        """Ask for an erasure: the ids of the request and of its job, which waits."""
        wanted = NewRequest(model="digits", subject_id=subject, external_id=external_id)
        submitted = submit(self.backend, wanted, key_id=None)
        return submitted.request.id, submitted.job_ids[0]

    def trained_on(self, nth: int) -> str:
        """A subject of ten samples that are all in the training split, another for each number.

        A job that forgets so few is inconclusive.
        """
        with self.backend.db.reading() as session:
            dataset = registry.model_named(session, "digits").dataset_id
        there = set(self.backend.samples.load(dataset, "train").sample_ids)
        found = (
            f"subject-{number}"
            for number in range(20, 170)
            if all(f"train/{10 * number + i:05}" in there for i in range(10))
        )
        return next(itertools.islice(found, nth, None))

    def job(self, job_id: str) -> Job:
        """Its row."""
        with self.backend.db.reading() as session:
            return jobs.get(session, job_id)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Meanwhile, a worker runs one job beside; it has ended with the block."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                tasks.work(self.engine, "by hand")
            except BaseException as error:  # noqa: BLE001  # any: told after the block
                failed.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            worker.join()
        assert not failed, failed

    def run_job(self) -> None:
        """Run the job whose turn it is to its end, or until it waits for a person."""
        with self.working():
            pass

    def run_all(self) -> None:
        """Run every job that waits, those of other tests too."""
        while tasks.work(self.engine, "by hand") is not None:
            pass


@contextmanager
def opened(home: Path) -> Iterator[Site]:
    """The service on this home, on a free port, until the block ends."""
    settings = Settings(
        home=home,
        secret=SECRET,
        database_url=None,
        broker_url=None,
        store_url=None,
        signing_key=None,
        poll_seconds=0.05,
        lease_seconds=120,  # a busy machine may let a thread wait for long
        replica_lease_seconds=120,
    )
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            log_level="error",
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    assert server.started, "the service did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    backend = open_backend(settings, send=lambda _: None)
    try:
        yield Site(f"http://127.0.0.1:{port}", Engine(backend, "cpu"), app)
    finally:
        backend.close()
        server.should_exit = True
        thread.join()
