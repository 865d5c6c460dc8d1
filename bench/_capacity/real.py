"""A real embedded service with one worker: what its jobs take, and its waits beside predictions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from bench._intake.scene import cpu_of
from core import registry
from core.backend import Backend, open_backend
from core.capacity.costs import Costs, fit, measured
from core.capacity.simulation import Batching, Queue, play
from core.drift import Budget
from core.records import ErasureRequest, Job
from core.settings import Settings
from core.states import REQUEST_OPEN
from tests.functional.deployment import Deployment

NEVER = Budget(jobs=1_000_000, erased_share=1.0, accuracy_lost=1.0, days=36_500.0)
PATIENCE = 900.0
POLICY = {
    "budget": {name: getattr(NEVER, name) for name in NEVER.__annotations__},
    # On few test samples utility fails by chance, and a reviewer would have to be simulated too.
    "thresholds": dict.fromkeys(
        ("accuracy_loss", "class_loss", "calibration_loss", "drift_loss", "neighbour_loss"), 1.0
    ),
}

Say = Callable[[str], None]


def prepare(home: Path, dataset: str, data: Path, per_subject: int, say: Say) -> None:
    """A home with a trained model, whose drift budget asks for nothing; kept for the next run."""
    if (home / "ready").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    deployment = Deployment(home.parent, {"LETHE_HOME": str(home)})
    say(f"importing and training {dataset}")
    source = dataset if dataset == "digits" else f"mnist:{data}"
    deployment.ok(
        *("dataset", "import", "people", "--from", source),
        *("--samples-per-subject", str(per_subject)),
    )
    deployment.ok("train", "model", "--dataset", "people", seconds=PATIENCE)
    with _opened(home) as backend, backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "model")
        model.policy = POLICY
    (home / "ready").touch()


@contextmanager
def _opened(home: Path) -> Iterator[Backend]:
    with closing(open_backend(Settings(home=home), send=lambda _: None)) as backend:
        yield backend


@contextmanager
def _running(template: Path, folder: Path, batching: Batching) -> Iterator[Deployment]:
    """A service and a worker on a copy of the home."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(template, folder / "home")
    variables = {
        "LETHE_HOME": str(folder / "home"),
        "LETHE_BATCH_SECONDS": str(batching.seconds),
        "LETHE_BATCH_REQUESTS": str(batching.requests),
    }
    deployment = Deployment(folder, variables)
    try:
        deployment.serve("--role", "api")
        deployment.start("worker")
        yield deployment
    finally:
        deployment.close()


def _wait(home: Path) -> None:
    """Until no request is open."""
    until = time.monotonic() + PATIENCE
    waiting = select(func.count()).select_from(ErasureRequest)
    with _opened(home) as backend:
        while time.monotonic() < until:
            with backend.db.reading() as session:
                stuck = session.scalars(waiting.where(ErasureRequest.state == "needs_review")).one()
                left = session.scalars(waiting.where(ErasureRequest.state.in_(REQUEST_OPEN))).one()
            if not left:
                return
            if stuck:
                raise RuntimeError(f"{stuck} requests wait for a reviewer")
            time.sleep(0.2)
    raise RuntimeError("the requests did not end")


def calibrate(template: Path, folder: Path, sizes: Sequence[int], say: Say) -> tuple[Costs, Costs]:
    """Costs of jobs of so many requests each, one after another, and of one exact retraining.

    By the clock, and in CPU seconds of the worker, which a busy machine changes less. The first
    job, in which a worker warms up, counts in neither.
    """
    window, number = 1.5, 0
    spent: list[float] = []
    with _running(template, folder, Batching(window)) as deployment, deployment.client() as client:

        def job(requests: int, strategy: str | None = None) -> float:
            nonlocal number
            before = _cpu_seconds(deployment)
            for _ in range(requests):
                client.erase("model", subject_id=f"subject-{number}", strategy=strategy)
                number += 1
            time.sleep(window)
            _wait(folder / "home")
            seconds = _cpu_seconds(deployment) - before
            say(f"a job of {requests} requests: {seconds:.2f} CPU s")
            return seconds

        job(1)
        spent = [job(size) for size in sizes]
        retraining = job(1, "retrain")
    _leave_out_first(folder / "home")
    clock = costs_of(folder / "home")
    samples = [size * clock.samples_per_subject for size in sizes]
    fixed, slope, spread = fit(samples, spent)
    origin = f"CPU seconds of the worker over {len(sizes)} jobs"
    return clock, replace(
        clock,
        fixed_seconds=fixed,
        sample_seconds=slope,
        spread=spread,
        retrain_seconds=retraining,
        origin=origin,
    )


def _cpu_seconds(deployment: Deployment) -> float:
    """What the worker has used so far, and all its children."""
    return cpu_of(deployment.processes[-1].popen.pid)


def _leave_out_first(home: Path) -> None:
    """As if it had been claimed twice: in a copy that is thrown away."""
    with _opened(home) as backend, backend.db.transaction() as tx:
        first = tx.session.scalars(select(Job).order_by(Job.id).limit(1)).one()
        first.fence = 2


def costs_of(home: Path) -> Costs:
    """What the home's jobs took."""
    with _opened(home) as backend, backend.db.reading() as session:
        model = registry.model_named(session, "model")
        serving = registry.serving(session, model.id)
        assert serving is not None
        arrays = backend.checkpoints.read(serving.digest).arrays
        return measured(session, model, sum(a.nbytes for a in arrays.values()) / 1e6)


def run(
    template: Path,
    folder: Path,
    batching: Batching,
    moments: Sequence[float],
    first: int,
    say: Say,
) -> dict[str, Any]:
    """Post a request at each moment; what became of them: arrivals, waits, jobs, busy seconds."""
    with _running(template, folder, batching) as deployment, deployment.client() as client:
        client.erase("model", subject_id=f"subject-{first}")  # a worker's first job is slow
        _wait(folder / "home")
        began = time.monotonic()
        for number, moment in enumerate(moments, first + 1):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            client.erase("model", subject_id=f"subject-{number}")
        _wait(folder / "home")
    say(f"{len(moments)} requests, gathered for {batching.seconds:g} s")
    with _opened(folder / "home") as backend, backend.db.reading() as session:
        rows = session.execute(
            select(ErasureRequest.received_at, ErasureRequest.completed_at)
            .where(ErasureRequest.outcome == "erased")
            .order_by(ErasureRequest.received_at)
        ).all()[1:]
        jobs = session.scalars(select(Job).order_by(Job.queued_at)).all()[1:]
    start = rows[0][0]
    arrivals = np.array([(received - start).total_seconds() for received, _ in rows])
    waits = np.array([(done - received).total_seconds() for received, done in rows])
    busy = sum((job.finished_at - job.started_at).total_seconds() for job in jobs)
    return {"arrivals": arrivals, "waits": waits, "jobs": len(jobs), "busy": busy}


def beside(
    real: dict[str, Any], batching: Batching, costs: dict[str, Costs], seeds: int
) -> list[dict[str, Any]]:
    """Rows: what happened, and what is predicted with each of these costs, over seeds."""
    rows = [_row("real", batching, real["jobs"], real["busy"], real["waits"])]
    for name, each in costs.items():
        ended = [
            play([Queue(real["arrivals"], each)], batching, 1, budget=NEVER, seed=seed)
            for seed in range(seeds)
        ]
        waits = np.mean([np.sort(one.waits) for one in ended], axis=0)
        busy = float(np.mean([one.busy for one in ended]))
        rows.append(_row(name, batching, ended[0].jobs, busy, waits))
    return rows


def _row(
    name: str, batching: Batching, jobs: int, busy: float, waits: np.ndarray[Any, Any]
) -> dict[str, Any]:
    return {
        "row": name,
        "batch_seconds": batching.seconds,
        "requests": len(waits),
        "jobs": jobs,
        "busy_seconds": round(busy, 2),
        "p50_seconds": round(float(np.quantile(waits, 0.5)), 2),
        "p99_seconds": round(float(np.quantile(waits, 0.99)), 2),
    }
