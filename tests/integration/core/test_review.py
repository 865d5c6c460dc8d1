"""What a reviewer decides: retry, approve, reject."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core import holding, jobs
from core.backend import Backend
from core.db import Transaction
from core.errors import Conflict, NotFound
from core.records import Job
from core.states import JOB
from tests.factories import submit, with_model
from tests.integration.core.helpers import (
    claimed,
    events_of,
    job_of,
    request_of,
    set_job,
    settle,
    submitted_job,
)

CANDIDATE = {"digest": "c" * 64}


def in_review(backend: Backend, **values: object) -> tuple[str, str]:
    """Request and job, given to a person."""
    done = submit(backend)
    held = claimed(backend)
    holding.fail(backend.db, held, "bad data", backend.settings, retry=False)
    set_job(backend, held.job_id, takeovers=3, cancel_requested=True, **values)
    return done.request.id, held.job_id


def retry(tx: Transaction, job_id: str) -> Job:
    return jobs.retry(tx, job_id)


def approve(tx: Transaction, job_id: str) -> Job:
    return jobs.approve(tx, job_id, "looks right")


def reject(tx: Transaction, job_id: str) -> Job:
    return jobs.reject(tx, job_id, "looks wrong")


DECISIONS = [retry, approve, reject]


def decide(backend: Backend, decision: Callable[[Transaction, str], Job], job_id: str) -> Job:
    with backend.db.transaction() as tx:
        return decision(tx, job_id)


@pytest.mark.parametrize("state", ["needs_review", "failed"])
def test_a_retry_begins_again_from_nothing(backend: Backend, state: str) -> None:
    with_model(backend)
    request_id, job_id = in_review(backend, candidate=CANDIDATE, rung=2)
    if state == "failed":
        decide(backend, reject, job_id)
    job = decide(backend, retry, job_id)
    assert (job.state, job.attempts, job.takeovers, job.rung) == ("queued", 0, 0, 0)
    assert (job.candidate, job.error, job.cancel_requested) == (None, None, False)
    assert (job.owner, job.finished_at) == (None, None)
    assert request_of(backend, request_id).state == "scheduled"
    assert claimed(backend).job_id == job_id
    settle(backend)


def test_a_published_job_goes_on_where_it_stood(backend: Backend) -> None:
    with_model(backend)
    request_id, job_id = in_review(backend, candidate=CANDIDATE)
    set_job(backend, job_id, published_at=request_of(backend, request_id).received_at)
    assert decide(backend, retry, job_id).state == "destroying"
    assert request_of(backend, request_id).state == "in_progress"
    held = claimed(backend, "worker-2")
    assert (held.job_id, held.state) == (job_id, "destroying")
    assert job_of(backend, job_id).takeovers == 0, "nobody was lost"


def test_an_approved_candidate_is_published_by_the_next_worker(backend: Backend) -> None:
    with_model(backend)
    request_id, job_id = in_review(backend, candidate=CANDIDATE)
    job = decide(backend, approve, job_id)
    assert (job.state, job.candidate) == ("publishing", CANDIDATE)
    assert request_of(backend, request_id).state == "in_progress"
    held = claimed(backend, "worker-2")
    assert (held.job_id, held.state) == (job_id, "publishing")
    assert "needs_review->publishing" in events_of(backend, "job", job_id)


def test_a_rejected_candidate_leaves_the_request_to_a_person(backend: Backend) -> None:
    with_model(backend)
    request_id, job_id = in_review(backend, candidate=CANDIDATE)
    job = decide(backend, reject, job_id)
    assert (job.state, job.candidate, job.error) == ("failed", None, "looks wrong")
    assert job.finished_at is not None
    assert request_of(backend, request_id).state == "needs_review"


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda d: d.__name__)
@pytest.mark.parametrize("state", [s for s in JOB.moves if s != "needs_review"])
def test_only_jobs_in_review_are_decided(
    sqlite_backend: Backend, decision: Callable[[Transaction, str], Job], state: str
) -> None:
    with_model(sqlite_backend)
    _, job_id = in_review(sqlite_backend, candidate=CANDIDATE)
    set_job(sqlite_backend, job_id, state=state)
    if (decision, state) == (retry, "failed"):
        return
    with pytest.raises(Conflict, match=f"job {job_id} is {state}"):
        decide(sqlite_backend, decision, job_id)


def test_without_a_candidate_there_is_nothing_to_approve(backend: Backend) -> None:
    with_model(backend)
    _, job_id = in_review(backend)
    with pytest.raises(Conflict, match="no candidate"):
        decide(backend, approve, job_id)


def test_what_is_published_is_neither_approved_nor_rejected(backend: Backend) -> None:
    with_model(backend)
    request_id, job_id = in_review(backend, candidate=CANDIDATE)
    set_job(backend, job_id, published_at=request_of(backend, request_id).received_at)
    with pytest.raises(Conflict):
        decide(backend, approve, job_id)
    with pytest.raises(Conflict, match="published its result already"):
        decide(backend, reject, job_id)


def test_one_job_a_model_is_held_whoever_decides(backend: Backend) -> None:
    with_model(backend)
    _, job_id = in_review(backend, candidate=CANDIDATE)
    submitted_job(backend, "subject-1")
    claimed(backend)
    with pytest.raises(Conflict, match="another job of the same model runs now"):
        decide(backend, approve, job_id)
    assert job_of(backend, job_id).state == "needs_review"


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda d: d.__name__)
def test_there_must_be_such_a_job(
    sqlite_backend: Backend, decision: Callable[[Transaction, str], Job]
) -> None:
    with pytest.raises(NotFound, match="no job job_x"):
        decide(sqlite_backend, decision, "job_x")
