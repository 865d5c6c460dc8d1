"""How a model came to be: versions in parts, with who made them, remembers them, serves them."""

from __future__ import annotations

from core import drift, lineage, registry, replicas
from core.backend import Backend
from core.records import Job, Model, Version
from tests.factories import entry_of, submit, with_model
from tests.integration.core.helpers import claimed


def add(backend: Backend, model: Model, job_id: str | None = None) -> Version:
    """A child of the serving version, published in its place."""
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        parent = registry.serving(tx.session, model.id)
        assert parent is not None
        number = parent.number + 1
        account = drift.charged(parent.metrics["drift"], erased=9, lost=0.005)
        version = registry.add_version(
            tx,
            model,
            digest=f"{number:064}",
            metrics={"test_accuracy": 0.9, "drift": account},
            parent=parent,
            job=tx.session.get_one(Job, job_id) if job_id else None,
        )
        registry.publish(tx, version)
        return version


def test_each_version_with_what_made_it_and_what_became_of_it(backend: Backend) -> None:
    model = with_model(backend)
    done = submit(backend)
    job_id = claimed(backend).job_id
    made = add(backend, model, job_id)
    with backend.db.transaction() as tx:
        tx.session.get_one(Job, job_id).candidate = {"strategy": "retrain"}
    again = add(backend, model)
    replica = replicas.announce(backend.db, 60)
    assert replicas.adopt(backend.db, replica, again, entry_of(again, made.digest))
    with backend.db.reading() as session:
        found = lineage.of_model(session, model)
        kept = lineage.retired(session, model)
    newest, retrained, first = found.steps
    assert (found.older, found.newer) == (None, None)
    assert [step.version.number for step in found.steps] == [3, 2, 1]
    assert [step.parent for step in found.steps] == [2, 1, None]
    assert [step.strategy for step in found.steps] == [None, "retrain", None]
    assert [step.exact for step in found.steps] == [False, True, True]
    assert [step.remembers for step in found.steps] == [1, 1, 1], done.request.id
    assert all(step.tainted for step in found.steps)
    assert newest.served_by == retrained.served_by == [replica]
    assert first.served_by == []
    assert first.drift is not None
    assert newest.drift is not None
    assert first.drift["accuracy_lost"] == 0.0
    assert newest.drift["accuracy_lost"] == 1.0  # two halves of a point, of one point
    assert newest.drift["jobs"] == 2 / 50
    assert [step.version.number for step in kept] == [2, 1]


def test_a_candidate_has_no_drift_yet_and_a_destroyed_version_is_no_danger(
    sqlite_backend: Backend,
) -> None:
    model = with_model(sqlite_backend)
    submit(sqlite_backend)
    with sqlite_backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        parent = registry.serving(tx.session, model.id)
        version = registry.add_version(tx, model, digest="a" * 64, metrics={}, parent=parent)
        tx.session.flush()
        version.state = "destroyed"
    with sqlite_backend.db.reading() as session:
        step = lineage.of_model(session, model).steps[0]
    assert (step.drift, step.remembers, step.tainted) == (None, 1, False)


def test_a_long_line_is_shown_in_parts(backend: Backend) -> None:
    model = with_model(backend)
    for _ in range(6):
        add(backend, model)

    def part(before: int | None) -> tuple[list[int], int | None, int | None]:
        with backend.db.reading() as session:
            found = lineage.of_model(session, model, before=before, limit=3)
        return [step.version.number for step in found.steps], found.older, found.newer

    assert part(None) == ([7, 6, 5], 5, None)
    assert part(5) == ([4, 3, 2], 2, 8)
    assert part(8) == ([7, 6, 5], 5, None)
    assert part(2) == ([1], None, 5)
    assert part(1) == ([], None, None)
