"""The retraining that the drift budget asks for: one at a time, on record, behind erasures."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from core import holding, registry
from core.backend import Backend
from core.enlist import enlist_retraining
from core.records import AuditEvent, Job, Model
from tests.factories import submit, with_model


def ask(backend: Backend, model: Model, reason: str = "jobs") -> Job | None:
    with backend.db.transaction() as tx:
        return enlist_retraining(tx, registry.lock_model(tx, model.id), reason)


def test_a_retraining_is_queued_once_and_says_why(backend: Backend) -> None:
    model = with_model(backend)
    first = ask(backend, model)
    assert first is not None
    assert (first.kind, first.strategy, first.state) == ("retrain", "retrain", "queued")
    assert ask(backend, model, "days") is None
    with backend.db.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.noun_id == first.id)).all()
        assert [job.id for job in session.scalars(select(Job))] == [first.id]
    asked = [event for event in events if event.event == "asked for by the drift budget"]
    assert [event.data["limit"] for event in asked] == ["jobs"]


def test_erasures_go_before_it_until_it_is_due(backend: Backend) -> None:
    retraining = ask(backend, with_model(backend))
    assert retraining is not None
    submit(backend)  # due later than the retraining
    held = holding.claim(backend.db, "worker", backend.settings)
    assert held is not None
    assert held.job_id != retraining.id
    with backend.db.transaction() as tx:
        holding.give_to_person(tx, holding.check(tx, held), "a test")

    submit(backend, "subject-1")
    with backend.db.transaction() as tx:
        overdue = tx.now - timedelta(seconds=1)
        tx.session.execute(update(Job).where(Job.id == retraining.id).values(due_at=overdue))
    held = holding.claim(backend.db, "worker", backend.settings)
    assert held is not None
    assert held.job_id == retraining.id
