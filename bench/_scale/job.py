"""One job on one home, in this process; prints what it cost as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select, update

from bench._scale.build import DATASET, settings_of
from core import datasets, garbage
from core.backend import Backend, open_backend
from core.incoming import HoldBack
from core.intake import NewRequest, submit
from core.records import Job, Subject
from core.samples import SampleStore
from worker import tasks
from worker.engine import Engine

PER_SUBJECT = 10
MODEL = DATASET


class Compaction:
    """What purging took, by the clock and on the CPU."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what the block takes."""
        began, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - began
        self.cpu += time.process_time() - cpu

    def of(self, samples: SampleStore) -> None:
        """Count every purge of this store."""
        purge = samples.purge

        def counted(dataset: str, **options: Any) -> Any:
            with self.timed():
                return purge(dataset, **options)

        samples.purge = counted  # type: ignore[method-assign]  # a stop-watch


def people(backend: Backend, erased: int, how: str, name: str = DATASET) -> list[str]:
    """Identifiers of people who are trained on and have about `erased` samples, spread or not."""
    with backend.db.reading() as session:
        dataset = datasets.dataset_named(session, name)
        last = dataset.next_key // PER_SUBJECT
        wanted = erased // PER_SUBJECT
        step = last // (wanted * 2) if how == "spread" else 1
        hold = HoldBack.of(dataset.seed, dataset.next_key, has_test=False)
        chosen: list[str] = []
        first, number = 1, 1 if how == "spread" else last // 4
        while len(chosen) < wanted and first < step + 1:
            if number >= last:  # those were erased by jobs before: take their neighbours
                first += 1
                number = first
            person = f"subject-{number}"
            hashed = backend.identities.subject(person).raw
            known = session.scalars(
                select(Subject.id).where(
                    Subject.dataset_id == dataset.id, Subject.raw_hash == hashed
                )
            ).first()
            if known is not None and hold.split(person) == "train" and person not in chosen:
                chosen.append(person)
            number += max(step, 1)
    return chosen


def main(home: Path, erased: int, how: str) -> None:
    torch.set_num_threads(1)
    settings = settings_of(home).model_copy(
        update={"batch_seconds": 3600.0, "batch_requests": 10**6}
    )
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        names = people(backend, erased, how)
        for name in names:
            submit(backend, NewRequest(model=MODEL, subject_id=name), key_id=None)
        with backend.db.transaction() as tx:
            job_id = tx.session.scalars(select(Job.id).where(Job.state == "queued")).one()
            tx.session.execute(
                update(Job).where(Job.id == job_id).values(not_before=tx.now, approved_at=tx.now)
            )
        compaction = Compaction()
        compaction.of(backend.samples)
        garbage.settle()  # as a worker does before it takes a job
        began, cpu = time.perf_counter(), time.process_time()
        tasks.work(Engine(backend, "cpu"), "by hand")
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        with backend.db.reading() as session:
            job = session.get_one(Job, job_id)
        assert job.state == "succeeded", (job.state, job.error)
        assert job.verification is not None
        assert job.destruction is not None
        gone = job.destruction["samples"]
    found = {
        "requests": len(names),
        "deleted": gone["samples"],
        "fragments": gone["fragments_rewritten"],
        "steps": job.verification["steps"],
        "job_seconds": round(seconds - compaction.seconds, 2),
        "cpu_seconds": round(cpu - compaction.cpu, 2),
        "compaction_seconds": round(compaction.seconds, 2),
        "compaction_cpu_seconds": round(compaction.cpu, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
