"""Holding a job: heartbeat, progress, handed back, failed, given to a person."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import holding, jobs, requests
from core.backend import Backend
from core.errors import Conflict
from core.records import Job
from core.states import JOB_HELD
from tests.factories import make_dataset, make_model, submit, with_model
from tests.integration.core.helpers import (
    advance,
    claimed,
    events_of,
    expire,
    job_of,
    request_of,
    set_job,
    settle,
    submitted_job,
)


def asked_to_stop(backend: Backend, job_id: str) -> None:
    with backend.db.transaction() as tx:
        jobs.ask_to_stop(tx, jobs.locked(tx, job_id))


def test_a_heartbeat_renews_the_lease_and_hears_of_a_cancel(backend: Backend) -> None:
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    before = job_of(backend, held.job_id)
    assert holding.heartbeat(backend.db, held, 3600) is False
    asked_to_stop(backend, held.job_id)
    assert holding.heartbeat(backend.db, held, 3600) is True
    after = job_of(backend, held.job_id)
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert after.lease_until - before.lease_until > timedelta(minutes=50)


def test_progress_is_seen_by_those_who_wait_for_a_change(backend: Backend) -> None:
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    before = job_of(backend, held.job_id).revision
    assert holding.report(backend.db, held, {"phase": "unlearning", "step": 3}) is False
    asked_to_stop(backend, held.job_id)
    assert holding.report(backend.db, held, {"phase": "unlearning", "step": 4}) is True
    assert job_of(backend, held.job_id).progress == {"phase": "unlearning", "step": 4}
    with backend.db.reading() as session:
        assert jobs.revisions(session, {held.job_id, "none"}) == {held.job_id: before + 3}


def test_a_job_that_runs_is_handed_back_to_the_queue(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    held = claimed(backend)
    assert holding.hand_back(backend.db, held, "the worker stops") == "queued"
    job = job_of(backend, held.job_id)
    assert (job.state, job.owner, job.lease_until) == ("queued", None, None)
    assert (job.candidate, job.progress, job.attempts) == (None, jobs.NO_PROGRESS, 0)
    assert request_of(backend, done.request.id).state == "scheduled"
    again = claimed(backend, "worker-2")
    assert (again.job_id, again.fence, again.state) == (held.job_id, 2, "running")
    assert job_of(backend, held.job_id).takeovers == 0


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("verifying", "handed back"),  # its candidate is worth keeping
        ("publishing", "handed back"),
        ("destroying", "handed back"),
        ("publishing", "failed"),
        ("destroying", "failed"),
    ],
)
def test_a_job_that_has_got_far_stays_held_so_that_nothing_runs_before_it(
    backend: Backend, state: str, why: str
) -> None:
    with_model(backend)
    submitted_job(backend)
    other = submitted_job(backend, "subject-1")
    held = claimed(backend)
    advance(backend, held, JOB_HELD[1 : JOB_HELD.index(state) + 1])
    if why == "failed":
        assert holding.fail(backend.db, held, "no disk", backend.settings) == state
        assert holding.claim(backend.db, "worker-2", backend.settings) is None, "it pauses first"
        expire(backend, held)
    else:
        assert holding.hand_back(backend.db, held, "the worker stops") == state
        assert "handed back" in events_of(backend, "job", held.job_id)
    job = job_of(backend, held.job_id)
    assert (job.state, job.owner) == (state, None)
    again = claimed(backend, "worker-2")
    assert (again.job_id, again.state, again.fence) == (held.job_id, state, 2)
    assert job_of(backend, held.job_id).takeovers == 0, "it was handed back, not lost"
    assert job_of(backend, other).state == "queued"


def test_a_failed_attempt_is_tried_again_after_a_pause_that_doubles(backend: Backend) -> None:
    backend.settings.max_attempts = 4
    with_model(backend)
    done = submit(backend)
    pauses = []
    for attempt in (1, 2, 3):
        held = claimed(backend)
        with backend.db.transaction() as tx:
            before = tx.now
        assert holding.fail(backend.db, held, f"fault {attempt}", backend.settings) == "queued"
        job = job_of(backend, held.job_id)
        assert (job.attempts, job.error, job.owner) == (attempt, f"fault {attempt}", None)
        assert holding.claim(backend.db, "worker-2", backend.settings) is None
        pauses.append((job.not_before - before).total_seconds())
        set_job(backend, held.job_id, not_before=before)
    assert pauses == pytest.approx([2, 4, 8], abs=1.5)
    assert holding.fail(backend.db, claimed(backend), "fault 4", backend.settings) == "needs_review"
    job = job_of(backend, held.job_id)
    assert (job.state, job.error, job.owner, job.lease_until) == (
        "needs_review", "fault 4", None, None,
    )  # fmt: skip
    assert request_of(backend, done.request.id).state == "needs_review"
    settle(backend)


def test_the_pause_never_passes_five_minutes(backend: Backend) -> None:
    backend.settings.max_attempts = 100
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    set_job(backend, held.job_id, attempts=50)
    with backend.db.transaction() as tx:
        before = tx.now
    holding.fail(backend.db, held, "fault", backend.settings)
    pause = (job_of(backend, held.job_id).not_before - before).total_seconds()
    assert 300 <= pause < 310


def test_a_fault_that_no_retry_will_mend_goes_to_a_person_at_once(backend: Backend) -> None:
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    assert (
        holding.fail(backend.db, held, "bad data", backend.settings, retry=False) == "needs_review"
    )


def test_moves_of_a_held_job_are_the_machines(backend: Backend) -> None:
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    with pytest.raises(Conflict, match="running and cannot become succeeded"):
        advance(backend, held, ["succeeded"])


def test_a_request_is_where_its_jobs_together_are(backend: Backend) -> None:
    dataset = make_dataset(backend)
    for name in "ab":
        make_model(backend, dataset, name)
    done = submit(backend, model="a")

    def state() -> str:
        return request_of(backend, done.request.id).state

    first, second = claimed(backend, "worker-1"), claimed(backend, "worker-2")
    assert state() == "in_progress"
    holding.hand_back(backend.db, first, "stopping")
    assert state() == "in_progress", "the other job still runs"
    holding.hand_back(backend.db, second, "stopping")
    assert state() == "scheduled"
    first = claimed(backend)
    holding.fail(backend.db, first, "bad data", backend.settings, retry=False)
    assert state() == "needs_review"
    second = claimed(backend)
    assert state() == "needs_review", "that the other runs must not hide that a person is needed"
    with backend.db.transaction() as tx:
        jobs.retry(tx, first.job_id)
    assert state() == "in_progress"
    holding.hand_back(backend.db, second, "stopping")
    assert state() == "scheduled"


def test_wakes_are_sent_for_what_can_run_at_once(backend: Backend) -> None:
    sent: list[str] = []
    backend.db._send = sent.append
    with_model(backend)
    job_id = submitted_job(backend)
    assert sent == [job_id]
    holding.hand_back(backend.db, claimed(backend), "stopping")
    assert sent == [job_id] * 2
    held = claimed(backend)
    holding.fail(backend.db, held, "fault", backend.settings)
    assert sent == [job_id] * 2, "a pause is over when sweep says so"


def test_jobs_are_listed_newest_first_in_pages(backend: Backend) -> None:
    model = with_model(backend)
    ids = sorted((submitted_job(backend, f"subject-{i}") for i in range(4)), reverse=True)
    claimed(backend)
    with backend.db.reading() as session:
        page = [j.id for j in jobs.listed(session, limit=3)]
        assert page == ids[:3]
        assert [j.id for j in jobs.listed(session, after=page[-1])] == ids[3:]
        running = jobs.listed(session, status="running", model=model.name)
        assert [(type(j), j.state) for j in running] == [(Job, "running")]
        assert len(jobs.listed(session, status="queued")) == 3
        with pytest.raises(jobs.Invalid, match="unknown status 'x'; use queued"):
            jobs.listed(session, status="x")
        with pytest.raises(jobs.NotFound, match="no model"):
            jobs.listed(session, model="none")
        with pytest.raises(jobs.NotFound, match="no job job_x"):
            jobs.get(session, "job_x")
    with pytest.raises(jobs.NotFound, match="no job job_x"), backend.db.transaction() as tx:
        jobs.locked(tx, "job_x")


def test_a_request_knows_its_jobs_and_a_job_its_requests(backend: Backend) -> None:
    dataset = make_dataset(backend)
    for name in "ab":
        make_model(backend, dataset, name)
    done = submit(backend, model="a")
    with backend.db.reading() as session:
        assert [j.id for j in requests.jobs_of(session, done.request.id)] == done.job_ids
        for job_id in done.job_ids:
            assert [r.id for r in jobs.requests_of(session, job_id)] == [done.request.id]
