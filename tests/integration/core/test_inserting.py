"""Rows written by the dozen are the same as those that a session writes, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.backend import Backend
from core.db import Base, Transaction, database_now
from core.errors import Invalid
from core.ids import new_id
from core.inserting import follow, insert_all, insert_rows
from core.records import AuditEvent, Denied, ErasureRequest, Job, JobRequest, Model
from core.requests import jobs_of
from tests import factories


@pytest.fixture
def model(backend: Backend) -> Model:
    return factories.make_model(backend, factories.make_dataset(backend))


def job_of(tx: Transaction, model: Model, **values: Any) -> Job:
    given: dict[str, Any] = {
        "id": new_id("job"),
        "model_id": model.id,
        "kind": "erase",
        "state": "queued",
        "strategy": 'rfu_ss "quoted" \\ ü \N{SNOWMAN} \x7f',
        "seed": 2**31 - 1,
        "progress": {"phase": None, "steps": [1, 2.5, 1e-300], "naïve": {"a": True}},
        "not_before": tx.now,
        "due_at": tx.now + timedelta(days=30, microseconds=1),
        "queued_at": tx.now,
    }
    return Job(**given | values)


def request_of(tx: Transaction, model: Model) -> ErasureRequest:
    return ErasureRequest(
        id=new_id("er"),
        model_id=model.id,
        dataset_id=model.dataset_id,
        state="received",
        sample_count=0,
        received_at=tx.now,
        due_at=tx.now,
    )


def columns(record: Base) -> dict[str, Any]:
    return {each.key: getattr(record, each.key) for each in inspect(type(record)).column_attrs}


def stored(session: Session, kind: type[Base], ident: str) -> dict[str, Any]:
    return columns(session.get_one(kind, ident, populate_existing=True))


def test_every_column_is_as_a_session_writes_it(backend: Backend, model: Model) -> None:
    with backend.db.transaction() as tx:
        theirs, ours = job_of(tx, model), job_of(tx, model)
        tx.session.add(theirs)
        tx.session.flush()
        insert_all(tx.session, [ours])
    with backend.db.reading() as session:
        expected = stored(session, Job, theirs.id) | {"id": ours.id}
        assert stored(session, Job, ours.id) == expected
        assert expected["attempts"] == 0, "the column's default"
        unset = select(Job.id).where(Job.candidate.is_(None), Job.owner.is_(None))
        assert set(session.scalars(unset)) == {theirs.id, ours.id}, "NULL, not the document null"


def test_a_record_that_is_kept_is_followed(backend: Backend, model: Model) -> None:
    with backend.db.transaction() as tx:
        job = job_of(tx, model)
        insert_all(tx.session, [job])
        follow(tx.session, [job])
        assert tx.session.get_one(Job, job.id) is job
        assert job.takeovers == 0
        assert job.candidate is None
        assert not tx.session.dirty
        job.due_at = tx.now
        job.candidate = {"digest": "d"}
    with backend.db.reading() as session:
        found = session.get_one(Job, job.id)
        assert (found.due_at, found.candidate) == (job.due_at, {"digest": "d"})


def test_a_commit_keeps_what_the_record_says(backend: Backend, model: Model) -> None:
    with backend.db.transaction() as tx:
        job = job_of(tx, model)
        insert_all(tx.session, [job])
        follow(tx.session, [job])
    assert job.strategy.startswith("rfu_ss")
    assert not inspect(job).expired_attributes, "a caller reads it after the session has closed"


def test_kinds_that_refer_to_each_other_go_together(backend: Backend, model: Model) -> None:
    with backend.db.transaction() as tx:
        request, job = request_of(tx, model), job_of(tx, model)
        links = [JobRequest(job_id=job.id, request_id=request.id)]
        insert_all(tx.session, [request], [], [job], links)
    with backend.db.reading() as session:
        assert jobs_of(session, request.id)[0].id == job.id


def test_all_kinds_are_refused_together(backend: Backend, model: Model) -> None:
    def failing() -> None:
        with backend.db.transaction() as tx:
            job = job_of(tx, model)
            insert_all(tx.session, [job], [JobRequest(job_id=job.id, request_id="er_none")])

    with pytest.raises(IntegrityError):
        failing()
    with backend.db.reading() as session:
        assert session.scalars(select(Job)).all() == []


def test_many_rows_arrive_each_once(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        rows = [{"hash": f"{n:064d}", "kind": "sample", "created_at": tx.now} for n in range(2500)]
        insert_rows(tx.session, Denied, rows)
    with backend.db.reading() as session:
        found = sorted(session.scalars(select(Denied.hash)))
    assert found == [row["hash"] for row in rows]


def test_nothing_is_written_of_nothing(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        insert_rows(tx.session, Denied, [])
        insert_all(tx.session, [])
        follow(tx.session, [])
        assert tx.session.scalars(select(Denied)).all() == []


def test_a_row_that_is_there_is_refused_and_none_is_written(backend: Backend) -> None:
    def writing(names: list[str]) -> None:
        with backend.db.transaction() as tx:
            at = database_now(tx.session)
            rows = [{"hash": name, "kind": "sample", "created_at": at} for name in names]
            insert_rows(tx.session, Denied, rows)

    writing(["a"])
    with pytest.raises(IntegrityError):
        writing(["b", "a"])
    with backend.db.reading() as session:
        assert list(session.scalars(select(Denied.hash))) == ["a"]


def test_a_value_that_postgresql_cannot_hold_is_said_to_be_invalid(
    postgres_backend: Backend,
) -> None:
    for bad in ("a NUL \x00", "half a pair \ud800", "x" * 65):
        with pytest.raises(Invalid, match="cannot be stored"):
            _deny(postgres_backend, bad)


def _deny(backend: Backend, text: str) -> None:
    with backend.db.transaction() as tx:
        insert_rows(tx.session, Denied, [{"hash": text, "kind": "s", "created_at": tx.now}])


def test_a_value_of_no_column_s_kind_is_a_mistake_of_ours(postgres_backend: Backend) -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        _deny(postgres_backend, {"a set"})  # type: ignore[arg-type]


def test_what_an_event_says_is_hashed_and_stored_alike(backend: Backend) -> None:
    data = {"text": "ü\u2028 </script>", "figure": 0.1 + 0.2, "none": None, "list": [1, "2"]}
    with backend.db.transaction() as tx:
        tx.record("job", "job_1", "noted", **data)
    with backend.db.reading() as session:
        assert session.scalars(select(AuditEvent)).one().data == data


def test_an_erasure_request_has_its_defaults(backend: Backend, model: Model) -> None:
    with backend.db.transaction() as tx:
        request = request_of(tx, model)
        insert_all(tx.session, [request])
    assert request.secret_generation == 0
    assert request.outcome is None
