"""What front ends show of a page of records: the same records, in the same order, with theirs."""

from __future__ import annotations

from core import facts, registry, replicas, requests
from core.backend import Backend
from core.records import Job, Version
from tests.factories import entry_of, make_dataset, make_model, submit
from tests.integration.core.helpers import claimed


def test_requests_and_jobs_with_what_belongs_to_them(backend: Backend) -> None:
    dataset = make_dataset(backend)
    models = {make_model(backend, dataset, name).id: name for name in "ab"}
    one, two = submit(backend, model="a"), submit(backend, "subject-1", model="b")
    with backend.db.reading() as session:
        page = requests.listed(session)
        shown = facts.of_requests(session, page)
        assert [each.request for each in shown] == page
        assert {each.request.id: (each.model, each.job_ids) for each in shown} == {
            one.request.id: ("a", one.job_ids),
            two.request.id: ("b", two.job_ids),
        }
        jobs = [session.get_one(Job, job_id) for job_id in (*two.job_ids, *one.job_ids)]
        for job, each in zip(jobs, facts.of_jobs(session, jobs), strict=True):
            owner = one if job.id in one.job_ids else two
            assert (each.job, each.model) == (job, models[job.model_id])
            assert each.request_ids == [owner.request.id]
            assert (each.base_version, each.result_version) == (None, None)
        assert facts.of_requests(session, []) == []
        assert facts.of_jobs(session, []) == []
        assert facts.counts(session) == ({"scheduled": 2}, {"queued": 4})


def test_models_and_versions_with_who_serves_them(backend: Backend) -> None:
    dataset = make_dataset(backend)
    model = make_model(backend, dataset, "a")
    idle = make_model(backend, dataset, "b")
    done = submit(backend, model="a")
    held = claimed(backend)
    with backend.db.reading() as session:
        base = registry.serving(session, held.model_id)
    assert base is not None
    with backend.db.transaction() as tx:
        registry.lock_model(tx, held.model_id)
        job = tx.session.get_one(Job, held.job_id)
        parent = tx.session.get_one(Version, base.id)
        mine = model if model.id == held.model_id else idle
        made = registry.add_version(
            tx, mine, digest="b" * 64, metrics={}, parent=parent, job=job,
            forgotten=[done.request.id],
        )  # fmt: skip
        job.base_version_id, job.result_version_id = base.id, made.id
    replica = replicas.announce(backend.db, 60)
    assert replicas.adopt(backend.db, replica, base, entry_of(base))
    with backend.db.reading() as session:
        shown = {each.model.id: each for each in facts.of_models(session, [idle, model])}
        assert list(shown) == [idle.id, model.id]
        assert all(each.dataset.id == dataset.id for each in shown.values())
        served = shown[mine.id]
        assert served.serving is not None
        assert served.serving.id == base.id
        assert [(r.replica.id, r.digest, r.version) for r in served.replicas] == [
            (replica, base.digest, 1)
        ]
        other = shown[model.id if mine is idle else idle.id]
        assert other.replicas == []
        newest, oldest = facts.of_versions(session, mine)
        assert (newest.version.id, newest.parent, newest.tainted_by) == (made.id, 1, [])
        assert (oldest.parent, oldest.tainted_by) == (None, [done.request.id])
        assert (newest.served_by, oldest.served_by) == ([], [replica])
        (job_facts,) = facts.of_jobs(session, [session.get_one(Job, held.job_id)])
        assert (job_facts.base_version, job_facts.result_version) == (1, 2)
