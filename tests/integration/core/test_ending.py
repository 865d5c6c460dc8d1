"""Requests cancelled, rejected; jobs cancelled; what may still be stopped."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from core import holding, jobs, registry, requests
from core.backend import Backend
from core.errors import CancelRequested, Conflict, NotFound
from core.records import JobRequest, RequestSample, Taint
from core.states import JOB_HELD, REQUEST
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import (
    advance,
    claimed,
    end,
    events_of,
    job_of,
    request_of,
    set_job,
    settle,
)


def cancel_job(backend: Backend, job_id: str) -> str:
    with backend.db.transaction() as tx:
        return requests.cancel_job(tx, job_id, "asked by the operator").state


def left(backend: Backend, request_id: str) -> list[str]:
    """Kinds of rows that still bind the request to something."""
    with backend.db.reading() as session:
        return [
            kind.__name__
            for kind in (Taint, RequestSample)
            if session.scalars(select(kind).where(kind.request_id == request_id)).first()
        ]


@pytest.mark.parametrize("to", ["cancelled", "rejected"])
def test_a_waiting_request_ends_at_once_with_its_job(backend: Backend, to: str) -> None:
    with_model(backend)
    done = submit(backend, sample_ids=("train/00001",))
    assert left(backend, done.request.id) == ["Taint", "RequestSample"]
    end(backend, done.request.id, to)
    request, job = request_of(backend, done.request.id), job_of(backend, done.job_ids[0])
    assert (request.state, request.outcome, request.reason) == (to, to, "asked by the person")
    assert request.completed_at is not None
    assert (job.state, job.finished_at is not None) == ("cancelled", True)
    assert left(backend, request.id) == []
    assert events_of(backend, "erasure_request", request.id)[-1] == f"scheduled->{to}"
    settle(backend)


@pytest.mark.parametrize("state", ["running", "verifying"])
def test_a_running_job_is_asked_to_stop_and_the_request_ends_with_it(
    backend: Backend, state: str
) -> None:
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    advance(backend, held, JOB_HELD[1 : JOB_HELD.index(state) + 1])
    end(backend, done.request.id)
    request, job = request_of(backend, done.request.id), job_of(backend, held.job_id)
    assert (request.state, request.outcome) == ("in_progress", "cancelled")
    assert (job.state, job.cancel_requested) == (state, True)
    assert holding.heartbeat(backend.db, held, 30) is True
    assert left(backend, request.id) == ["Taint"], "what remembers it does so until it has ended"


@pytest.mark.parametrize("to", ["publishing", "destroying"])
def test_a_cancelled_job_never_passes_the_point_of_no_return(backend: Backend, to: str) -> None:
    """The cancel was promised between the worker's last look at it and its next write."""
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    if to == "publishing":
        advance(backend, held, ["verifying"])
    end(backend, done.request.id)
    with pytest.raises(CancelRequested, match="cancelled before it published"):
        advance(backend, held, [to])
    advance(backend, held, ["cancelled"])


@pytest.mark.parametrize("state", ["publishing", "destroying", "succeeded"])
def test_once_a_job_publishes_it_is_too_late(backend: Backend, state: str) -> None:
    with_model(backend)
    done = submit(backend)
    states = [*JOB_HELD[1:], "succeeded"]
    advance(backend, claimed(backend), states[: states.index(state) + 1])
    with pytest.raises(Conflict, match=f"{state}.*can no longer be stopped"):
        end(backend, done.request.id)
    assert request_of(backend, done.request.id).state == "in_progress"


def test_a_published_job_in_review_is_past_stopping(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    set_job(backend, held.job_id, published_at=done.request.received_at)
    advance(backend, held, ["verifying", "publishing", "destroying"])
    holding.fail(backend.db, held, "no disk", backend.settings, retry=False)
    for _ in range(2):
        with pytest.raises(Conflict, match="can no longer be stopped"):
            end(backend, done.request.id)
        set_job(backend, held.job_id, state="failed")


@pytest.mark.parametrize("final", sorted(REQUEST.final))
def test_what_has_ended_cannot_end_again(backend: Backend, final: str) -> None:
    with_model(backend)
    if final == "completed":
        request_id = submit(backend, "nobody").request.id
    else:
        request_id = submit(backend).request.id
        end(backend, request_id, final)
    for to in ("cancelled", "rejected"):
        with pytest.raises(Conflict, match=f"is {final} and cannot become {to}"):
            end(backend, request_id, to)


def test_a_request_under_way_is_not_rejected(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    claimed(backend)
    with pytest.raises(Conflict, match="in_progress and cannot become rejected"):
        end(backend, done.request.id, "rejected")


@pytest.mark.parametrize("to", ["cancelled", "rejected"])
def test_a_request_in_review_can_end(backend: Backend, to: str) -> None:
    with_model(backend)
    done = submit(backend)
    holding.fail(backend.db, claimed(backend), "bad data", backend.settings, retry=False)
    end(backend, done.request.id, to)
    assert request_of(backend, done.request.id).state == to
    assert job_of(backend, done.job_ids[0]).state == "cancelled"


@pytest.mark.parametrize("state", ["queued", "needs_review", "failed"])
def test_one_of_several_leaves_a_job_that_does_not_run(backend: Backend, state: str) -> None:
    backend.settings.batch_seconds = 60
    with_model(backend)
    one, two = submit(backend, "subject-1"), submit(backend, "subject-2")
    assert one.job_ids == two.job_ids
    (job_id,) = one.job_ids
    set_job(backend, job_id, state=state)
    with backend.db.transaction() as tx:
        requests.extend(tx, two.request.id, two.request.due_at + timedelta(days=30), "complex")
    end(backend, one.request.id)
    with backend.db.reading() as session:
        assert jobs.request_ids(session, job_id) == [two.request.id]
    job = job_of(backend, job_id)
    assert (job.state, job.due_at) == (state, two.request.due_at + timedelta(days=30))
    assert request_of(backend, one.request.id).state == "cancelled"
    assert request_of(backend, two.request.id).state == "scheduled"


def test_one_of_several_cannot_leave_a_running_job(backend: Backend) -> None:
    with_model(backend)
    one, two = submit(backend), submit(backend)
    assert one.job_ids == two.job_ids
    claimed(backend)
    with pytest.raises(Conflict, match="for several requests"):
        end(backend, one.request.id)
    assert job_of(backend, one.job_ids[0]).cancel_requested is False


def test_a_request_over_two_models_ends_with_the_one_that_runs(backend: Backend) -> None:
    dataset = make_dataset(backend)
    for name in "ab":
        make_model(backend, dataset, name)
    done = submit(backend, model="a")
    held = claimed(backend)
    (waiting,) = set(done.job_ids) - {held.job_id}
    end(backend, done.request.id)
    assert job_of(backend, waiting).state == "cancelled"
    request = request_of(backend, done.request.id)
    assert (request.state, request.outcome) == ("in_progress", "cancelled")


def test_a_failed_job_is_left_as_it_is_and_never_run_again(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    holding.fail(backend.db, held, "bad data", backend.settings, retry=False)
    with backend.db.transaction() as tx:
        jobs.reject(tx, held.job_id, "not good enough")
    end(backend, done.request.id)
    assert job_of(backend, held.job_id).state == "failed"
    with pytest.raises(Conflict, match="nothing left to erase"), backend.db.transaction() as tx:
        jobs.retry(tx, held.job_id)


def test_cancelling_a_job_cancels_its_requests(backend: Backend) -> None:
    with_model(backend)
    one, two = submit(backend), submit(backend)
    assert cancel_job(backend, one.job_ids[0]) == "cancelled"
    for done in (one, two):
        assert request_of(backend, done.request.id).state == "cancelled"
    with pytest.raises(Conflict, match="cancelled already"):
        cancel_job(backend, one.job_ids[0])
    with pytest.raises(NotFound):
        cancel_job(backend, "job_x")


def test_cancelling_a_running_job_asks_it_to_stop_for_all(backend: Backend) -> None:
    with_model(backend)
    one, two = submit(backend), submit(backend)
    held = claimed(backend)
    assert cancel_job(backend, held.job_id) == "running"
    assert job_of(backend, held.job_id).cancel_requested
    for done in (one, two):
        assert request_of(backend, done.request.id).outcome == "cancelled"


def test_a_request_that_joins_while_its_job_is_cancelled_is_not_swept_along(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_model(backend)
    one, two = submit(backend), submit(backend)
    real, calls = jobs.request_ids, []

    def first_look_misses_one(session: object, job_id: str) -> list[str]:
        calls.append(job_id)
        found = real(session, job_id)  # type: ignore[arg-type]
        return found[:1] if len(calls) == 1 else found

    monkeypatch.setattr(jobs, "request_ids", first_look_misses_one)
    with pytest.raises(Conflict, match="joined job"):
        cancel_job(backend, one.job_ids[0])
    for done in (one, two):
        assert request_of(backend, done.request.id).state == "scheduled"


def test_a_cancelled_request_taints_nothing_made_later(backend: Backend) -> None:
    model = with_model(backend)
    done = submit(backend)
    end(backend, done.request.id)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        made = registry.add_version(tx, model, digest="d" * 64, metrics={})
    with backend.db.reading() as session:
        assert registry.taints(session, [made.id]) == {}
        assert session.scalars(select(JobRequest)).one().request_id == done.request.id
