"""Models and versions: one serves, taints are inherited and cleared, the doomed are found."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from sqlalchemy import select

from core import registry
from core.backend import Backend
from core.errors import Conflict, NotFound
from core.records import Job, Model, Version
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import at_once, claimed, events_of, settle


def add(
    backend: Backend,
    model: Model,
    digest: str,
    *,
    parent: Version | None = None,
    forgotten: Collection[str] = (),
    publish: bool = False,
    job_id: str | None = None,
) -> Version:
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        job = tx.session.get_one(Job, job_id) if job_id else None
        version = registry.add_version(
            tx, model, digest=digest * 64, metrics={}, parent=parent, job=job, forgotten=forgotten
        )
        if publish:
            registry.publish(tx, version)
    return version


def serving(backend: Backend, model: Model) -> Version:
    with backend.db.reading() as session:
        version = registry.serving(session, model.id)
    assert version is not None
    return version


def remembered(backend: Backend, version: Version) -> set[str]:
    with backend.db.reading() as session:
        return set(registry.taints(session, [version.id]).get(version.id, ()))


def rollback(backend: Backend, model: Model, number: int, *, there: bool = True) -> Version:
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        return registry.rollback(tx, model, number, "worse", file_exists=lambda _: there)


def test_publishing_swaps_exactly_one(backend: Backend) -> None:
    model = with_model(backend)
    first = serving(backend, model)
    second = add(backend, model, "b", parent=first, publish=True)
    with backend.db.reading() as session:
        states = {v.number: v.state for v in registry.versions(session, model.id)}
        assert [v.number for v in registry.versions(session, model.id)] == [2, 1]
    assert states == {1: "retired", 2: "serving"}
    assert serving(backend, model).id == second.id
    assert second.published_at is not None
    assert events_of(backend, "version", second.id) == ["created", "candidate->serving"]


def test_of_publications_at_once_each_leaves_one_serving(backend: Backend) -> None:
    model = with_model(backend)
    base = serving(backend, model)
    done = at_once(
        *[lambda d=d: add(backend, model, d, parent=base, publish=True) for d in "bcdef"]
    )
    assert not [each for each in done if isinstance(each, Exception)]
    with backend.db.reading() as session:
        states = [v.state for v in registry.versions(session, model.id)]
        assert sorted(v.number for v in registry.versions(session, model.id)) == [*range(1, 7)]
    assert sorted(states) == ["retired"] * 5 + ["serving"]
    settle(backend)


def test_a_child_remembers_what_its_parent_does_less_what_it_forgot(backend: Backend) -> None:
    model = with_model(backend)
    one, two = (submit(backend, f"subject-{i}").request.id for i in range(2))
    base = serving(backend, model)
    assert remembered(backend, base) == {one, two}
    child = add(backend, model, "b", parent=base, forgotten=[one])
    assert remembered(backend, child) == {two}
    assert remembered(backend, add(backend, model, "c", parent=child, forgotten=[two])) == set()


def test_a_first_training_remembers_every_open_request_of_its_data_set(backend: Backend) -> None:
    dataset = make_dataset(backend)
    make_model(backend, dataset)
    open_ = submit(backend).request.id
    submit(backend, "nobody")
    elsewhere = make_dataset(backend, "others", subjects=50)
    model = make_model(backend, elsewhere, "other")
    assert remembered(backend, serving(backend, model)) == set()
    assert remembered(backend, serving(backend, make_model(backend, dataset, "new"))) == {open_}


def test_every_version_that_exists_is_tainted_but_not_what_the_job_made(backend: Backend) -> None:
    model = with_model(backend)
    old, job_id = serving(backend, model), submit(backend, "subject-1").job_ids[0]
    claimed(backend)
    made = add(backend, model, "b", parent=old, forgotten=(), job_id=job_id)
    gone = add(backend, model, "c", parent=old)
    with backend.db.transaction() as tx:
        tx.session.get_one(Version, gone.id).state = "destroyed"
    later = submit(backend, "subject-2").request.id
    assert later in remembered(backend, old)
    assert later in remembered(backend, made), "another job's request taints it"
    assert later not in remembered(backend, gone)


def test_the_doomed_remember_and_do_not_serve(backend: Backend) -> None:
    model = with_model(backend)
    base = serving(backend, model)
    old = add(backend, model, "b", parent=base, publish=True)
    request = submit(backend).request.id
    new = add(backend, model, "c", parent=old, forgotten=[request])
    with backend.db.reading() as session:
        assert {v.id for v in registry.doomed(session, model.id, [request])} == {base.id}
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        registry.publish(tx, tx.session.get_one(Version, new.id))
    with backend.db.reading() as session:
        assert {v.id for v in registry.doomed(session, model.id, [request])} == {base.id, old.id}
        assert registry.doomed(session, model.id, ["er_other"]) == []
        assert registry.doomed(session, model.id, []) == []


def test_files_in_use(backend: Backend) -> None:
    model = with_model(backend)
    base = serving(backend, model)
    gone = add(backend, model, "b", parent=base)
    with backend.db.transaction() as tx:
        registry.set_teacher(tx, model.id, "e" * 64)
        registry.set_teacher(tx, model.id, "f" * 64)
        tx.session.get_one(Version, gone.id).state = "destroyed"
    with backend.db.reading() as session:
        assert registry.digests_in_use(session) == {base.digest, "f" * 64}
        teacher = registry.teacher_of(session, model.id)
    assert teacher is not None
    assert teacher.digest == "f" * 64


def test_names_are_taken_once(backend: Backend) -> None:
    model = with_model(backend)
    dataset = make_dataset(backend, "others", subjects=50)
    with pytest.raises(Conflict, match="a model 'digits' already"):
        make_model(backend, dataset)
    done = at_once(*[lambda: make_model(backend, dataset, "new")] * 3)
    assert sum(isinstance(each, Conflict) for each in done) == 2
    with backend.db.reading() as session:
        assert [m.name for m in registry.models(session)] == ["digits", "new"]
        assert registry.model_named(session, "digits").id == model.id
        with pytest.raises(NotFound, match="models: digits, new"):
            registry.model_named(session, "x")
    settle(backend)


def test_a_model_locked_is_a_model_read_anew(postgres_backend: Backend) -> None:
    """What was read before the lock may be old: another held it meanwhile."""
    backend = postgres_backend
    model = with_model(backend)
    with backend.db.transaction() as tx:
        stale = tx.session.get_one(Model, model.id)
        with backend.db.transaction() as other:
            registry.lock_model(other, model.id).audit_next = True
        assert stale.audit_next is False
        assert registry.lock_model(tx, model.id).audit_next is True


# Going back


def test_going_back_between_versions_that_forgot_the_same(backend: Backend) -> None:
    model = with_model(backend)
    first = serving(backend, model)
    add(backend, model, "b", parent=first, publish=True)
    assert rollback(backend, model, 1).id == first.id
    assert serving(backend, model).id == first.id
    assert events_of(backend, "model", model.id)[-1] == "rolled back"


def test_going_back_never_brings_back_what_was_erased(backend: Backend) -> None:
    model = with_model(backend)
    request = submit(backend).request.id
    base = serving(backend, model)
    add(backend, model, "b", parent=base, forgotten=[request], publish=True)
    with pytest.raises(Conflict, match="not forgotten the same requests; retrain"):
        rollback(backend, model, 1)


def test_what_stands_against_going_back(backend: Backend) -> None:
    model = with_model(backend)
    base = serving(backend, model)
    add(backend, model, "b", parent=base, publish=True)
    with pytest.raises(NotFound, match="no version 9"):
        rollback(backend, model, 9)
    with pytest.raises(Conflict, match="version 2 of 'digits' is serving"):
        rollback(backend, model, 2)
    with pytest.raises(Conflict, match="not in the store"):
        rollback(backend, model, 1, there=False)
    submit(backend)
    claimed(backend)
    with pytest.raises(Conflict, match=r"job job_\w+ changes 'digits' now"):
        rollback(backend, model, 1)
    with backend.db.reading() as session:
        assert session.scalars(select(Version.number).where(Version.state == "serving")).all() == [
            2
        ]
