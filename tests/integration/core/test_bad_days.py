"""What whoever runs Lethe must know: workers alive, due dates near or past, what is counted."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from core import deadlines, figures, registry, requests, workers
from core.backend import Backend
from core.db import database_now
from core.records import ErasureRequest, Job
from tests.factories import submit, with_model
from tests.integration.core.helpers import advance, claimed, events_of, settle


def due(backend: Backend, request_id: str, days: float) -> datetime:
    """Let a request be due in so many days."""
    with backend.db.transaction() as tx:
        moment = tx.now + timedelta(days=days)
        tx.session.get_one(ErasureRequest, request_id).due_at = moment
    return moment


def standing(backend: Backend) -> figures.Standing:
    with backend.db.reading() as session:
        return figures.standing(session)


def test_workers_that_renew_are_alive(backend: Backend) -> None:
    assert standing(backend).workers == 0
    workers.beat(backend.db, "a:1", 30.0)
    workers.beat(backend.db, "b:1", 30.0)
    workers.beat(backend.db, "a:1", 30.0)
    assert standing(backend).workers == 2
    workers.beat(backend.db, "b:1", -10.0)
    assert standing(backend).workers == 1
    with backend.db.transaction() as tx:
        workers.forget_dead(tx, older_than=5.0)
    workers.leave(backend.db, "a:1")
    assert standing(backend).workers == 0


def test_warnings_are_words() -> None:
    assert figures.Standing(workers=1, waiting=9, overdue=0).warnings() == []
    assert figures.Standing(workers=0, waiting=1, overdue=1).warnings() == [
        "no worker is running and 1 job waits: start one with `lethe worker`",
        "1 erasure request is overdue: GET /erasure-requests?overdue=true lists them",
    ]


def test_a_due_date_is_warned_of_once_and_again_when_it_has_passed(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with_model(backend)
    far, near = (submit(backend, f"subject-{i}").request.id for i in range(2))
    assert deadlines.warn(backend.db, 7.0) == 0
    moment = due(backend, near, 6.9)
    due(backend, far, 7.1)
    with caplog.at_level(logging.WARNING, "core.deadlines"):
        assert [deadlines.warn(backend.db, 7.0) for _ in range(2)] == [1, 0]
        due(backend, near, -0.1)
        assert [deadlines.warn(backend.db, 7.0) for _ in range(2)] == [1, 0]
    warned = [(each.getMessage(), vars(each)["erasure_request"]) for each in caplog.records]
    assert warned == [("a due date comes near", near), ("an erasure request is overdue", near)]
    assert vars(caplog.records[0])["due_at"] == moment.isoformat()
    assert events_of(backend, "erasure_request", near)[-2:] == ["due soon", "overdue"]
    assert "due soon" not in events_of(backend, "erasure_request", far)
    assert standing(backend).overdue == 1
    settle(backend)


def test_a_request_that_was_overdue_at_once_is_warned_of_as_such(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    due(backend, request_id, -1.0)
    assert deadlines.warn(backend.db, 7.0) == 1
    assert events_of(backend, "erasure_request", request_id)[-1] == "overdue"
    assert deadlines.warn(backend.db, 7.0) == 0


def test_an_extension_makes_room_for_new_warnings(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    due(backend, request_id, 1.0)
    assert deadlines.warn(backend.db, 7.0) == 1
    with backend.db.transaction() as tx:
        requests.extend(tx, request_id, tx.now + timedelta(days=40), "a complex request")
    assert deadlines.warn(backend.db, 7.0) == 0
    due(backend, request_id, 5.0)
    assert deadlines.warn(backend.db, 7.0) == 1


def test_what_has_ended_is_due_no_more(backend: Backend) -> None:
    with_model(backend)
    request_id = submit(backend).request.id
    due(backend, request_id, -1.0)
    with backend.db.reading() as session:
        nearest = deadlines.nearest(session)
        assert nearest is not None
        assert nearest < database_now(session)
    with backend.db.transaction() as tx:
        requests.end(tx, request_id, "cancelled", "asked for by mistake")
    assert deadlines.warn(backend.db, 7.0) == 0
    assert standing(backend) == figures.Standing(workers=0, waiting=0, overdue=0)
    with backend.db.reading() as session:
        assert deadlines.nearest(session) is None


def test_the_figures_of_an_empty_database(backend: Backend) -> None:
    with backend.db.reading() as session:
        assert figures.queue_age(session) == 0.0
        assert figures.phases(session) == {}
        assert figures.erasure_times(session) == figures.Times((0,) * 9, 0, 0.0)
        assert figures.verdicts(session) == {}
        assert figures.gate_verdicts(session) == {}
        assert figures.swaps(session) == {}


def test_the_figures_of_one_in_use(backend: Backend) -> None:
    with_model(backend)
    done = [submit(backend, f"subject-{i}").request.id for i in range(2)]
    with backend.db.transaction() as tx:
        for request_id, seconds in zip(done, (90, 90_000), strict=True):
            changed = update(ErasureRequest).where(ErasureRequest.id == request_id)
            tx.session.execute(
                changed.values(
                    state="completed",
                    outcome="erased",
                    received_at=tx.now - timedelta(seconds=seconds),
                    completed_at=tx.now,
                )
            )
    held = claimed(backend)
    gates = [
        {"gate": "G1", "name": "membership", "verdict": "PASS"},
        {"gate": "G2", "name": "accuracy", "verdict": "INCONCLUSIVE"},
    ]
    advance(
        backend,
        held,
        ["verifying"],
        verification={"verdict": "INCONCLUSIVE", "gates": gates},
        progress={"phase": "verifying"},
    )
    with backend.db.transaction() as tx:
        tx.session.execute(
            update(Job).where(Job.state == "queued").values(queued_at=tx.now - timedelta(hours=1))
        )
        model = registry.model_named(tx.session, "digits")
        tx.record("model", model.id, "rolled back", of=2, to=1)
    with backend.db.reading() as session:
        assert figures.queue_age(session) == pytest.approx(3600, abs=60)
        assert figures.phases(session) == {"verifying": 1}
        times = figures.erasure_times(session)
        assert times.within == (0, 1, 1, 1, 1, 2, 2, 2, 2)
        assert (times.count, times.total) == (2, pytest.approx(90_090, abs=0.1))
        assert figures.verdicts(session) == {"INCONCLUSIVE": 1}
        assert figures.gate_verdicts(session) == {
            ("G1", "membership", "PASS"): 1,
            ("G2", "accuracy", "INCONCLUSIVE"): 1,
        }
        assert figures.swaps(session) == {"digits": 2}
