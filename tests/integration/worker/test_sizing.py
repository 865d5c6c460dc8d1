"""More than a tenth of a data set, or all of a class, waits for a person before it begins."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from core import jobs, registry
from core.errors import Conflict
from core.intake import NewRequest, submit
from core.records import Job
from tests.integration.conftest import look
from worker import tasks
from worker.engine import Engine


def names(engine: Engine, n: int, label: int | None = None) -> tuple[str, ...]:
    """So many training samples, of one class."""
    with engine.backend.db.reading() as session:
        dataset = registry.model_named(session, "digits").dataset_id
    batch = engine.backend.samples.load(dataset, "train")
    chosen = np.flatnonzero(batch.labels == label) if label is not None else np.arange(n)
    return tuple(batch.sample_ids[i] for i in chosen[:n])


def submitted(engine: Engine, wanted: tuple[str, ...]) -> tuple[str, str]:
    done = submit(engine.backend, NewRequest("digits", sample_ids=wanted), key_id=None)
    return done.job_ids[0], done.request.id


def test_it_waits_untouched_and_goes_on_when_approved(engine: Engine) -> None:
    job_id, request_id = submitted(engine, names(engine, 200))
    tasks.work(engine, "by hand")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("needs_review", "needs_review")
    assert job.progress["phase"] == "approval"
    assert job.error is not None
    assert "200 of 1,797 samples" in job.error
    assert job.candidate is None
    with engine.backend.db.transaction() as tx:
        jobs.approve(tx, job_id, "we know of it")
    job, _ = look(engine, job_id, request_id)
    assert job.state == "queued"
    assert job.approved_at is not None
    tasks.work(engine, "again")
    job, _ = look(engine, job_id, request_id)
    assert job.candidate is not None or job.state == "succeeded", "it has begun"


def test_a_whole_class_waits_and_is_let_go(engine: Engine) -> None:
    job_id, request_id = submitted(engine, names(engine, 1000, label=8))
    tasks.work(engine, "by hand")
    job, _ = look(engine, job_id, request_id)
    assert job.state == "needs_review"
    assert job.error is not None
    assert "more than 75% of the training samples of class 8 (" in job.error
    with engine.backend.db.transaction() as tx:
        jobs.reject(tx, job_id, "a mistake")
    with engine.backend.db.transaction() as tx, pytest.raises(Conflict, match="failed"):
        jobs.approve(tx, job_id, "no")


def test_what_waits_for_another_reason_is_not_approved(engine: Engine) -> None:
    job_id, _ = submitted(engine, names(engine, 3))
    with engine.backend.db.transaction() as tx:
        tx.session.get_one(Job, job_id).state = "needs_review"
    with engine.backend.db.transaction() as tx, pytest.raises(Conflict, match="retry it"):
        jobs.approve(tx, job_id, "no")


def test_a_batch_gathers_no_more_than_needs_no_reviewer(engine: Engine) -> None:
    engine.backend.settings.batch_seconds = timedelta(hours=1).total_seconds()
    all_ = names(engine, 190)
    first, _ = submitted(engine, all_[:100])
    second, _ = submitted(engine, all_[100:170])
    third, _ = submitted(engine, all_[170:190])
    assert first == second, "170 of 1,797 are under a tenth"
    assert third != first
