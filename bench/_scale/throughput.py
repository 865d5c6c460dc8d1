"""Requests carried out per hour: what a batch, and a second worker, are worth."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
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


def throughput(batches: list[int], rounds: int = 1) -> list[dict[str, Any]]:
    """For each batch two jobs, one a model: by one worker, and by two, the same people for both.

    On PostgreSQL: SQLite has one writer, and what is written of a thousand requests is a second.
    Every measurement is made on a copy of the same home and database. Raises AssertionError when
    a job does not succeed.
    """
    found: dict[tuple[int, int], list[tuple[float, int]]] = {}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="lethe-scale-")))
        server = opened.enter_context(postgres())
        url = opened.enter_context(postgres_database(server))
        build(folder / "home", SAMPLES, MODELS, url)
        with closing(_opened(folder / "home", url)) as backend:
            names = people(backend, 10 * (1 + max(batches)), "together", MODELS[0])
        assert len(names) > max(batches), f"the data set has {len(names)} such people: fewer a job"
        for number in range(rounds):
            for batch, workers in itertools.product(batches, (1, 2) if number % 2 == 0 else (2, 1)):
                print(f"round {number + 1}: batch {batch}, {workers} workers", file=sys.stderr)
                with postgres_database(server, template=url) as copied:
                    home = shutil.copytree(folder / "home", folder / "copy")
                    os.sync()  # no commit of a worker's waits for the copy
                    measured = _measured(home, copied, workers, names[: 1 + batch])
                    shutil.rmtree(home)
                found.setdefault((batch, workers), []).append(measured)
    return [_row(batch, workers, measured) for (batch, workers), measured in found.items()]


def _measured(home: Path, url: str, workers: int, names: list[str]) -> tuple[float, int]:
    """The seconds of a batch, and the highest rung that a job of it climbed to.

    Each worker has a first job behind it, as workers have.
    """
    with closing(_opened(home, url)) as backend, ExitStack() as running:
        started = [running.enter_context(_Worker(home, url)) for _ in range(workers)]
        for at, model in enumerate(MODELS):
            _ask(backend, names[:1], [model])
            _carried_out([started[at % workers]])
        asked = _ask(backend, names[1:], MODELS)
        seconds = _carried_out(started)
        with backend.db.reading() as session:
            jobs = session.execute(select(Job.id, Job.state, Job.error, Job.rung)).all()
    assert all(job.state == "succeeded" for job in jobs), jobs
    return seconds, max(job.rung for job in jobs if job.id in asked)


def _row(batch: int, workers: int, measured: list[tuple[float, int]]) -> dict[str, Any]:
    seconds = statistics.median(seconds for seconds, _ in measured)
    return {
        "batch": batch,
        "workers": workers,
        "requests": batch * len(MODELS),
        "seconds": round(seconds, 2),
        "requests_per_hour": round(batch * len(MODELS) / seconds * 3600),
        "each_seconds": [round(each, 2) for each, _ in measured],
        "rungs": [rung for _, rung in measured],
    }


def _opened(home: Path, url: str) -> Backend:
    gathering = {"batch_seconds": 3600.0, "batch_requests": 10**6}
    settings = settings_of(home, url).model_copy(update=gathering)
    return open_backend(settings, send=lambda _: None)


def _ask(backend: Backend, names: list[str], models: Iterable[str]) -> set[str]:
    """The jobs, which need not wait for others or for a reviewer."""
    asked = [NewRequest(model=model, subject_id=name) for model in models for name in names]
    ids = {job_id for new in asked for job_id in submit(backend, new, key_id=None).job_ids}
    with backend.db.transaction() as tx:
        queued = update(Job).where(Job.state == "queued")
        tx.session.execute(queued.values(not_before=tx.now, approved_at=tx.now))
    return ids


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
