"""Requests carried out per hour: what a batch, and a second worker, are worth."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from sqlalchemy import select, update

from bench._scale.build import build, settings_of
from bench._scale.job import people
from core.backend import Backend, open_backend
from core.intake import NewRequest, submit
from core.records import Job
from tests.servers import postgres, postgres_database
from worker import tasks
from worker.engine import Engine

MODELS = ("first", "second")
SAMPLES = 120_000


def throughput(batches: list[int]) -> list[dict[str, Any]]:
    """For each batch two jobs, one a model: by one worker, and by two. The same load for both.

    On PostgreSQL: SQLite has one writer, and what is written of a thousand requests is a second.
    """
    rows = []
    with ExitStack() as opened:
        home = Path(opened.enter_context(TemporaryDirectory(prefix="lethe-scale-"))) / "home"
        url = opened.enter_context(postgres_database(opened.enter_context(postgres())))
        build(home, SAMPLES, MODELS, url)
        backend = opened.enter_context(closing(_opened(home, url)))
        count = 2 * sum(1 + batch for batch in batches)
        names = iter(people(backend, 10 * count, "together", MODELS[0]))
        for batch in batches:
            for workers in (1, 2):
                print(f"batch {batch}, {workers} workers", file=sys.stderr)
                with ExitStack() as running:
                    started = [running.enter_context(_Worker(home, url)) for _ in range(workers)]
                    _ask(backend, [next(names)])
                    _carried_out(started)  # each with a first job behind it, as workers have
                    _ask(backend, [next(names) for _ in range(batch)])
                    seconds = _carried_out(started)
                _check(backend)
                rows.append(
                    {
                        "batch": batch,
                        "workers": workers,
                        "requests": batch * len(MODELS),
                        "seconds": round(seconds, 2),
                        "requests_per_hour": round(batch * len(MODELS) / seconds * 3600),
                    }
                )
    return rows


def _opened(home: Path, url: str) -> Backend:
    gathering = {"batch_seconds": 3600.0, "batch_requests": 10**6}
    settings = settings_of(home, url).model_copy(update=gathering)
    return open_backend(settings, send=lambda _: None)


def _ask(backend: Backend, names: list[str]) -> None:
    for model in MODELS:
        for name in names:
            submit(backend, NewRequest(model=model, subject_id=name), key_id=None)
    with backend.db.transaction() as tx:
        queued = update(Job).where(Job.state == "queued")
        tx.session.execute(queued.values(not_before=tx.now, approved_at=tx.now))


class _Worker:
    """A process that carries out what there is whenever it is told to."""

    def __init__(self, home: Path, url: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "bench._scale.throughput", str(home), url]
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.communicate()
        assert self._popen.returncode == 0

    def go(self) -> None:
        """Tell it."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("go\n")
        self._popen.stdin.flush()

    def wait(self) -> None:
        """Until it has found nothing more to do."""
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == "ready\n"


def _carried_out(workers: list[_Worker]) -> float:
    """Seconds from the word until every worker has found nothing more to do."""
    began = time.perf_counter()
    for each in workers:
        each.go()
    for each in workers:
        each.wait()
    return time.perf_counter() - began


def _check(backend: Backend) -> None:
    with backend.db.reading() as session:
        left = session.execute(select(Job.state, Job.error).where(Job.state != "succeeded")).all()
    assert not left, left


def work(home: Path, url: str) -> None:
    """One worker: at each word, carry out jobs until there is none."""
    torch.set_num_threads(1)
    with closing(_opened(home, url)) as backend:
        engine = Engine(backend, "cpu")
        print("ready", flush=True)
        for _ in sys.stdin:
            while tasks.work(engine, "by hand") is not None:
                pass
            print("ready", flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
