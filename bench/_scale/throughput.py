"""Requests carried out per hour: what a batch, and a second worker, are worth."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select, update

from bench._scale.build import build, settings_of
from bench._scale.job import people
from core.backend import Backend, open_backend
from core.intake import NewRequest, submit
from core.records import Job
from worker import tasks
from worker.engine import Engine

MODELS = ("first", "second")
SAMPLES = 120_000


def throughput(keep: Path, batches: list[int]) -> list[dict[str, Any]]:
    """For each batch two jobs, one a model: by one worker, and by two. The same load for both."""
    home = keep / "throughput"
    build(home, SAMPLES, MODELS)
    rows = []
    with closing(_opened(home)) as backend:
        names = iter(people(backend, 10 * 3 * sum(batches), "together", MODELS[0]))
        for batch in batches:
            for workers in (1, 2):
                chosen = [next(names) for _ in range(batch)]
                _ask(backend, chosen)
                print(f"batch {batch}, {workers} workers", file=sys.stderr)
                seconds = _carried_out(home, workers)
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


def _opened(home: Path) -> Backend:
    gathering = {"batch_seconds": 3600.0, "batch_requests": 10**6}
    return open_backend(settings_of(home).model_copy(update=gathering), send=lambda _: None)


def _ask(backend: Backend, names: list[str]) -> None:
    for model in MODELS:
        for name in names:
            submit(backend, NewRequest(model=model, subject_id=name), key_id=None)
    with backend.db.transaction() as tx:
        queued = update(Job).where(Job.state == "queued")
        tx.session.execute(queued.values(not_before=tx.now, approved_at=tx.now))


def _carried_out(home: Path, workers: int) -> float:
    """Seconds from the word until every worker has found nothing more to do."""
    command = [sys.executable, "-W", "ignore", "-m", "bench._scale.throughput", str(home)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in running:
        each.communicate()
        assert each.returncode == 0
    return time.perf_counter() - began


def _check(backend: Backend) -> None:
    with backend.db.reading() as session:
        left = session.execute(select(Job.state, Job.error).where(Job.state != "succeeded")).all()
    assert not left, left


def work(home: Path) -> None:
    """One worker: wait for the word, then carry out jobs until there is none."""
    torch.set_num_threads(1)
    with closing(_opened(home)) as backend:
        engine = Engine(backend, "cpu")
        print("ready", flush=True)
        sys.stdin.readline()
        while tasks.work(engine, "by hand") is not None:
            pass


if __name__ == "__main__":
    work(Path(sys.argv[1]))
