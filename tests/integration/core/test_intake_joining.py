"""Taking erasure requests in: which job carries a request out, with which others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core import jobs, registry, requests
from core.backend import Backend
from tests.factories import submit, with_model
from tests.integration.core.helpers import advance, claimed, job_of, set_job


@pytest.mark.parametrize("states", [[], ["verifying"], ["verifying", "publishing", "destroying"]])
def test_a_request_joins_the_job_that_erases_the_same_samples(
    backend: Backend, states: list[str]
) -> None:
    with_model(backend)
    first = submit(backend)
    if states:
        advance(backend, claimed(backend), states)
    second = submit(backend)
    assert second.job_ids == first.job_ids
    assert second.request.state == ("in_progress" if states else "scheduled")
    with backend.db.reading() as session:
        carried = jobs.request_ids(session, first.job_ids[0])
    assert carried == sorted([first.request.id, second.request.id])


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "needs_review", "asked to stop"])
def test_no_request_joins_a_job_that_has_ended_or_is_about_to(backend: Backend, end: str) -> None:
    with_model(backend)
    first = submit(backend)
    if end == "asked to stop":
        claimed(backend)
        with backend.db.transaction() as tx:
            requests.end(tx, first.request.id, "cancelled", "mistake")
    else:
        set_job(backend, first.job_ids[0], state=end)
    assert submit(backend).job_ids != first.job_ids


def test_named_samples_join_a_job_that_erases_more_but_not_one_that_erases_less(
    backend: Backend,
) -> None:
    with_model(backend)
    first = submit(backend, sample_ids=("train/00001", "train/00002"))
    less = submit(backend, sample_ids=("train/00002",))
    more = submit(backend, sample_ids=("train/00002", "train/00003"))
    assert less.job_ids == first.job_ids
    assert more.job_ids != first.job_ids


def test_a_joined_job_is_due_when_its_soonest_request_is(backend: Backend) -> None:
    with_model(backend)
    first = submit(backend)
    set_job(backend, first.job_ids[0], due_at=first.request.due_at + timedelta(days=9))
    second = submit(backend)
    assert job_of(backend, first.job_ids[0]).due_at == second.request.due_at


def test_the_candidate_of_the_joined_job_has_forgotten_already(backend: Backend) -> None:
    model = with_model(backend)
    first = submit(backend)
    held = claimed(backend)
    with backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        job = jobs.locked(tx, held.job_id)
        parent = registry.serving(tx.session, model.id)
        candidate = registry.add_version(
            tx, model, digest="c" * 64, metrics={}, parent=parent, job=job,
            forgotten=[first.request.id],
        )  # fmt: skip
    second = submit(backend)
    assert parent is not None
    with backend.db.reading() as session:
        found = registry.taints(session, [parent.id, candidate.id])
    assert found == {parent.id: sorted([first.request.id, second.request.id])}


def test_requests_within_the_window_share_a_job(backend: Backend) -> None:
    backend.settings.batch_seconds = 60
    with_model(backend)
    one, two, other = (
        submit(backend, "subject-1"),
        submit(backend, "subject-2"),
        submit(backend, "subject-3", strategy="retrain"),
    )
    assert one.job_ids == two.job_ids != other.job_ids
    assert job_of(backend, one.job_ids[0]).not_before > one.request.received_at


def test_a_full_job_takes_no_more(backend: Backend) -> None:
    backend.settings.batch_seconds, backend.settings.batch_requests = 60, 2
    with_model(backend)
    jobs = [submit(backend, f"subject-{i}").job_ids[0] for i in range(5)]
    assert jobs[0] == jobs[1] != jobs[2] == jobs[3] != jobs[4]
    assert submit(backend, "subject-0").job_ids == jobs[:1], "the same person joins all the same"


@pytest.mark.parametrize("what", ["window over", "claimed", "tried before", "no window"])
def test_nothing_is_added_to_a_job_that_gathers_no_more(backend: Backend, what: str) -> None:
    backend.settings.batch_seconds = 0 if what == "no window" else 60
    with_model(backend)
    first = submit(backend, "subject-1")
    changes: dict[str, dict[str, Any]] = {
        "window over": {"not_before": first.request.received_at},
        "claimed": {"state": "running"},
        "tried before": {"attempts": 1},
        "no window": {"due_at": first.request.due_at},
    }
    set_job(backend, first.job_ids[0], **changes[what])
    assert submit(backend, "subject-2").job_ids != first.job_ids
