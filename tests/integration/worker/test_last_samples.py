"""A data set of which nothing is left: its last people are erased like any others."""

from __future__ import annotations

from sqlalchemy import select

from core import jobs, registry
from core.backend import Backend
from core.records import Certificate, Job, Subject
from tests import factories
from worker import tasks
from worker.engine import Engine

LAST = "train/00001"  # the second of the two samples of subject-0


def test_the_last_people_of_a_data_set_are_erased_and_certified(backend: Backend) -> None:
    dataset = factories.make_dataset(backend)
    with backend.db.transaction() as tx:  # it serves nothing: nothing is unlearnt, all destroyed
        registry.create_model(
            tx, "digits", dataset, architecture={"kind": "test"}, training={"epochs": 1}
        )
    keys = backend.samples.keys(dataset.id).tolist()
    others = [name for name in backend.samples.take(dataset.id, keys).sample_ids if name > LAST]
    engine = Engine(backend, "cpu")
    for wanted in ({"sample_ids": tuple(others)}, {"subject_id": "subject-0"}):
        submitted = factories.submit(backend, **wanted)
        [job_id] = submitted.job_ids
        tasks.work(engine, "by hand")
        with backend.db.transaction() as tx:  # so large a share waits for a person
            jobs.approve(tx, job_id, "they all left")
        tasks.work(engine, "by hand")
        with backend.db.reading() as session:
            job = session.get_one(Job, job_id)
            assert (job.state, job.error) == ("succeeded", None)
            assert session.get(Certificate, submitted.request.id) is not None
    assert backend.samples.count(dataset.id) == 0
    with backend.db.reading() as session:
        assert session.scalars(select(Subject.id)).all() == []
    again = factories.submit(backend, "subject-0")
    assert again.request.outcome == "no_data_found"
