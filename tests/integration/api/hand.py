"""A hand that moves jobs along as a worker would, one step at a time; requests posted."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from core import drift, holding, jobs, registry, requests
from core.backend import Backend
from core.holding import Held
from core.records import Job, Version
from core.transitions import move


class Hand:
    """Claims through core.holding; what it publishes are small random checkpoints."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def claim(self) -> Held:
        """The soonest-due job, running."""
        held = holding.claim(self._backend.db, "a test", self._backend.settings)
        assert held is not None
        return held

    def report(self, held: Held, **progress: Any) -> None:
        """Some progress."""
        holding.report(self._backend.db, held, {**jobs.NO_PROGRESS, **progress})

    def give_to_person(self, held: Held, candidate: dict[str, Any] | None = None) -> None:
        """Into review, with the candidate that waits for a decision."""
        with self._backend.db.transaction() as tx:
            job = holding.check(tx, held)
            holding.give_to_person(tx, job, "a gate was inconclusive", candidate=candidate)

    def publish(self, held: Held) -> Version:
        """From running to destroying, with a new serving version."""
        with self._backend.db.transaction() as tx:
            job = holding.check(tx, held)
            for state in ("verifying", "publishing"):
                move(tx, job, state)
            version = self.add_version(tx, job)
            registry.publish(tx, version)
            move(tx, job, "destroying", result_version_id=version.id, published_at=tx.now)
        return version

    def add_version(self, tx: Any, job: Job) -> Version:
        """A candidate that has forgotten the job's requests."""
        model = registry.lock_model(tx, job.model_id)
        base = registry.serving(tx.session, model.id)
        assert base is not None
        account = drift.charged(base.metrics["drift"], erased=2, lost=0.002)
        return registry.add_version(
            tx,
            model,
            digest=self.checkpoint(),
            metrics={"accuracy": 0.8, "drift": account},
            parent=base,
            job=job,
            forgotten=jobs.request_ids(tx.session, job.id),
        )

    def checkpoint(self) -> str:
        """A file in the store; its digest."""
        arrays = {"weight": np.random.default_rng().normal(size=(4, 3)).astype(np.float32)}
        return self._backend.checkpoints.write(arrays, {}).digest

    def succeed(self, held: Held) -> None:
        """From destroying to succeeded, the requests completed."""
        with self._backend.db.transaction() as tx:
            job = holding.check(tx, held)
            for request_id in jobs.request_ids(tx.session, job.id):
                request = requests.locked(tx, request_id)
                move(tx, request, "completed", outcome="erased", completed_at=tx.now)
            move(tx, job, "succeeded", finished_at=tx.now)


def posted(api: TestClient, subject: str = "subject-0", **more: Any) -> dict[str, Any]:
    """Post a request for a subject; the answer's body."""
    answer = api.post("/erasure-requests", json={"model": "digits", "subject_id": subject, **more})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def count(backend: Backend, record: type) -> int:
    """Rows of this kind."""
    with backend.db.reading() as session:
        return session.scalar(select(func.count()).select_from(record)) or 0
