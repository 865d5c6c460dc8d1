"""Replicas and leases: who serves what, until when, and who leads."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from core import leases, registry, replicas
from core.backend import Backend
from core.records import Lease, Replica, Version
from tests.factories import entry_of, submit, with_model
from tests.integration.core.helpers import at_once


def run_out(backend: Backend, replica_id: str, by: float = 1.0) -> None:
    with backend.db.transaction() as tx:
        past = tx.now - timedelta(seconds=by)
        tx.session.execute(update(Replica).where(Replica.id == replica_id).values(lease_until=past))


def live(backend: Backend) -> list[str]:
    with backend.db.reading() as session:
        return [r.id for r in replicas.live(session)]


def versions(backend: Backend) -> tuple[Version, Version]:
    """The version that serves, and a candidate after it."""
    model = with_model(backend)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        old = registry.serving(tx.session, model.id)
        assert old is not None
        return old, registry.add_version(tx, model, digest="b" * 64, metrics={}, parent=old)


def publish(backend: Backend, version: Version) -> None:
    with backend.db.transaction() as tx:
        registry.lock_model(tx, version.model_id)
        registry.publish(tx, tx.session.get_one(Version, version.id))


def test_a_replica_lives_while_it_renews(backend: Backend) -> None:
    one, two = (replicas.announce(backend.db, 60) for _ in range(2))
    assert live(backend) == [one, two]
    run_out(backend, one)
    assert live(backend) == [two]
    assert replicas.renew(backend.db, two, {"m": {"digest": "d"}}, 60)
    replicas.leave(backend.db, two)
    assert live(backend) == []
    assert replicas.renew(backend.db, two, {}, 60) is False


def test_a_lease_that_ran_out_is_not_renewed(backend: Backend) -> None:
    replica = replicas.announce(backend.db, 60)
    run_out(backend, replica)
    assert replicas.renew(backend.db, replica, {"m": {"digest": "d"}}, 60) is False
    assert live(backend) == []


def test_what_is_adopted_is_reported_before_it_is_served(backend: Backend) -> None:
    old, new = versions(backend)
    replica = replicas.announce(backend.db, 60)
    assert replicas.renew(backend.db, replica, {"other": {"digest": "x"}}, 60)
    assert replicas.adopt(backend.db, replica, old, entry_of(old))
    publish(backend, new)
    assert replicas.adopt(backend.db, replica, new, entry_of(new, old.digest))
    with backend.db.reading() as session:
        (found,) = replicas.live(session)
        assert found.serving == {
            "other": {"digest": "x"},
            old.model_id: {"digest": new.digest, "version": 2, "also": [old.digest]},
        }
        assert (found.pid, found.host != "") == (os.getpid(), True)
        for digest, count in [(old.digest, 1), (new.digest, 1), ("x", 0)]:
            serving = replicas.still_serving(session, old.model_id, {digest})
            assert len(serving) == count, digest
        assert replicas.still_serving(session, "another model", {old.digest}) == []
    run_out(backend, replica)
    with backend.db.reading() as session:
        assert replicas.still_serving(session, old.model_id, {old.digest}) == []


@pytest.mark.parametrize("why", ["candidate", "retired", "lease over", "gone"])
def test_what_may_not_be_served_is_not_adopted(backend: Backend, why: str) -> None:
    old, new = versions(backend)
    replica = replicas.announce(backend.db, 60)
    if why == "retired":
        publish(backend, new)
    elif why == "lease over":
        run_out(backend, replica)
    elif why == "gone":
        replicas.leave(backend.db, replica)
    wanted = new if why == "candidate" else old
    assert replicas.adopt(backend.db, replica, wanted, entry_of(wanted)) is False
    with backend.db.reading() as session:
        assert replicas.still_serving(session, old.model_id, {wanted.digest}) == []


def test_a_retained_version_is_adopted_where_that_is_asked_for(backend: Backend) -> None:
    old, new = versions(backend)
    publish(backend, new)
    replica = replicas.announce(backend.db, 60)
    assert replicas.adopt(backend.db, replica, old, entry_of(old), retired=True, untainted=True)
    request = submit(backend).request
    with backend.db.reading() as session:
        assert registry.taints(session, [old.id]) == {old.id: [request.id]}
    assert not replicas.adopt(backend.db, replica, old, entry_of(old), retired=True, untainted=True)
    assert replicas.adopt(backend.db, replica, old, entry_of(old), retired=True)


def test_an_adoption_comes_wholly_before_or_after_a_publication(postgres_backend: Backend) -> None:
    backend = postgres_backend
    old, new = versions(backend)
    replica = replicas.announce(backend.db, 60)
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(replicas.adopt(backend.db, replica, old, entry_of(old)))
    )
    with backend.db.transaction() as tx:
        registry.lock_model(tx, new.model_id)
        registry.publish(tx, tx.session.get_one(Version, new.id))
        tx.session.flush()
        thread.start()
        time.sleep(0.3)
        assert answers == [], "it waits until the publication is decided"
    thread.join()
    assert answers == [False]


def test_rows_of_the_dead_are_cleared_after_a_while(backend: Backend) -> None:
    long_dead, dead, alive = (replicas.announce(backend.db, 60) for _ in range(3))
    run_out(backend, long_dead, by=100)
    run_out(backend, dead, by=10)
    with backend.db.transaction() as tx:
        assert replicas.forget_dead(tx, older_than=50) == 1
    with backend.db.reading() as session:
        assert session.get(Replica, long_dead) is None
        assert session.get(Replica, dead) is not None
    assert live(backend) == [alive]


# Named leases


def test_one_leads_until_it_gives_up_or_falls_silent(backend: Backend) -> None:
    assert leases.take(backend.db, "sweep", "a", 60)
    assert leases.take(backend.db, "sweep", "a", 60), "the holder renews"
    assert not leases.take(backend.db, "sweep", "b", 60)
    assert leases.take(backend.db, "other", "b", 60)
    leases.give_up(backend.db, "sweep", "b")
    assert not leases.take(backend.db, "sweep", "b", 60), "nobody gives up another's"
    leases.give_up(backend.db, "sweep", "a")
    assert leases.take(backend.db, "sweep", "b", 60)
    with backend.db.transaction() as tx:
        tx.session.get_one(Lease, "sweep").until = tx.now - timedelta(seconds=1)
    assert leases.take(backend.db, "sweep", "a", 60)


@pytest.mark.parametrize("first", [True, False])
def test_of_candidates_at_once_one_leads(backend: Backend, first: bool) -> None:
    if not first:
        assert leases.take(backend.db, "sweep", "old", 60)
        with backend.db.transaction() as tx:
            tx.session.get_one(Lease, "sweep").until = tx.now - timedelta(seconds=1)
    took = at_once(*[lambda o=o: leases.take(backend.db, "sweep", o, 60) for o in "abcdef"])
    assert sorted(took) == [False] * 5 + [True]  # type: ignore[type-var]
