"""Jobs over HTTP: read, listed, decided."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core import holding
from core.backend import Backend
from core.records import Job
from tests.integration.api.hand import Hand

WHY = {"reason": "looked at the figures"}


def posted(api: TestClient, subject: str = "subject-0") -> dict[str, Any]:
    body: dict[str, Any] = api.post(
        "/erasure-requests", json={"model": "digits", "subject_id": subject}
    ).json()
    return body


def in_review(api: TestClient, hand: Hand, subject: str = "subject-0") -> str:
    posted(api, subject)
    held = hand.claim()
    hand.give_to_person(held, candidate={"digest": "0" * 64})
    return held.job_id


def test_a_job_shows_all_that_the_design_names(api: TestClient) -> None:
    request = posted(api)
    job = api.get(f"/jobs/{request['job_id']}").json()
    assert job["status"] == "queued"
    assert job["model"] == "digits"
    assert job["request_ids"] == [request["id"]]
    assert set(job["progress"]) == {
        "phase",
        "step",
        "total_steps",
        "fraction",
        "forget_loss",
        "remember_loss",
        "alpha",
    }
    assert job["queued_at"].endswith("Z")
    empty = ("started_at", "published_at", "finished_at", "verification", "error")
    assert [job[name] for name in empty] == [None] * 5
    assert (job["attempts"], job["base_version"], job["result_version"]) == (0, None, None)


def test_a_job_names_its_versions_by_number(api: TestClient, api_hand: Hand) -> None:
    posted(api)
    held = api_hand.claim()
    version = api_hand.publish(held)
    api_hand.succeed(held)
    job = api.get(f"/jobs/{held.job_id}").json()
    assert job["status"] == "succeeded"
    assert job["result_version"] == version.number == 2
    assert job["published_at"] is not None
    assert job["finished_at"] is not None


def test_jobs_come_in_pages_and_filtered(api: TestClient, api_hand: Hand) -> None:
    ids = [posted(api, f"subject-{i}")["job_id"] for i in range(3)]
    first = api.get("/jobs", params={"limit": 2}).json()
    second = api.get("/jobs", params={"limit": 2, "cursor": first["next"]}).json()
    seen = [item["id"] for each in (first, second) for item in each["items"]]
    assert sorted(seen) == sorted(ids)
    assert second["next"] is None
    held = api_hand.claim()
    running = api.get("/jobs", params={"status": "running"}).json()["items"]
    assert [item["id"] for item in running] == [held.job_id]
    assert len(api.get("/jobs", params={"model": "digits"}).json()["items"]) == 3


@pytest.mark.parametrize(
    ("params", "status"), [({"status": "lost"}, 422), ({"model": "nope"}, 404), ({"limit": 0}, 422)]
)
def test_wrong_filters_are_refused(
    api_quiet: TestClient, params: dict[str, Any], status: int
) -> None:
    assert api_quiet.get("/jobs", params=params).status_code == status


def test_an_etag_spares_the_body(api: TestClient, api_hand: Hand) -> None:
    path = f"/jobs/{posted(api)['job_id']}"
    etag = api.get(path).headers["ETag"]
    for header in (etag, f"W/{etag}", f'"zzz", {etag}', "*"):
        answer = api.get(path, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    api_hand.claim()
    answer = api.get(path, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != etag
    assert api.get(path, headers={"If-None-Match": "rubbish"}).status_code == 200


def test_approve_publishes_the_candidate(api: TestClient, api_hand: Hand) -> None:
    job_id = in_review(api, api_hand)
    answer = api.post(f"/jobs/{job_id}/approve", json=WHY)
    assert answer.status_code == 200
    assert answer.json()["status"] == "publishing"
    held = api_hand.claim()
    assert (held.job_id, held.state) == (job_id, "publishing")
    assert api.post(f"/jobs/{job_id}/approve", json=WHY).status_code == 409


def test_reject_fails_the_job_and_leaves_the_request_in_review(
    api: TestClient, api_hand: Hand
) -> None:
    job_id = in_review(api, api_hand)
    answer = api.post(f"/jobs/{job_id}/reject", json=WHY)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["error"]) == ("failed", WHY["reason"])
    assert body["finished_at"] is not None
    [request_id] = body["request_ids"]
    assert api.get(f"/erasure-requests/{request_id}").json()["status"] == "needs_review"
    assert api.post(f"/jobs/{job_id}/reject", json=WHY).status_code == 409
    retried = api.post(f"/jobs/{job_id}/retry")
    assert retried.json()["status"] == "queued"
    assert retried.json()["error"] is None
    assert api.get(f"/erasure-requests/{request_id}").json()["status"] == "scheduled"


def test_a_published_job_in_review_can_only_go_on(
    api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    posted(api)
    held = api_hand.claim()
    api_hand.publish(held)
    api_hand.give_to_person(held)
    for action in ("reject", "cancel", "approve"):
        assert api.post(f"/jobs/{held.job_id}/{action}", json=WHY).status_code == 409
    assert api.post(f"/jobs/{held.job_id}/retry").json()["status"] == "destroying"


def test_a_held_or_finished_job_is_not_retried(api: TestClient, api_hand: Hand) -> None:
    posted(api)
    held = api_hand.claim()
    assert api.post(f"/jobs/{held.job_id}/retry").status_code == 409
    api_hand.publish(held)
    api_hand.succeed(held)
    assert api.post(f"/jobs/{held.job_id}/retry").status_code == 409
    assert api.post(f"/jobs/{held.job_id}/cancel", json=WHY).status_code == 409


def test_cancel_ends_the_requests_too(api: TestClient) -> None:
    request = posted(api)
    answer = api.post(f"/jobs/{request['job_id']}/cancel", json=WHY)
    assert answer.json()["status"] == "cancelled"
    ended = api.get(f"/erasure-requests/{request['id']}").json()
    assert (ended["status"], ended["reason"]) == ("cancelled", WHY["reason"])


def test_cancel_of_a_running_job_with_two_requests_asks_for_both(
    api: TestClient, api_hand: Hand
) -> None:
    first = posted(api)
    held = api_hand.claim()
    second = posted(api)
    body = api.post(f"/jobs/{held.job_id}/cancel", json=WHY).json()
    assert body["cancel_requested"] is True
    assert body["status"] == "running"
    for request in (first, second):
        assert api.get(f"/erasure-requests/{request['id']}").json()["outcome"] == "cancelled"


def test_failed_attempts_are_counted(api: TestClient, api_hand: Hand, api_backend: Backend) -> None:
    posted(api)
    held = api_hand.claim()
    holding.fail(api_backend.db, held, "the disk is full", api_backend.settings)
    job = api.get(f"/jobs/{held.job_id}").json()
    assert (job["attempts"], job["status"], job["error"]) == (1, "queued", "the disk is full")


@pytest.mark.parametrize("action", ["approve", "reject", "cancel"])
def test_decisions_need_a_reason(api: TestClient, action: str, api_backend: Backend) -> None:
    job_id = posted(api)["job_id"]
    assert api.post(f"/jobs/{job_id}/{action}").status_code == 422
    assert api.post(f"/jobs/{job_id}/{action}", json={"reason": ""}).status_code == 422
    assert api.post("/jobs/job_none/" + action, json=WHY).status_code == 404
    with api_backend.db.reading() as session:
        assert session.get_one(Job, job_id).state == "queued"


def test_what_is_not_there_is_404(api_quiet: TestClient) -> None:
    for path in ("/jobs/job_none", "/jobs/job_none/events"):
        answer = api_quiet.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    assert api_quiet.post("/jobs/job_none/retry").status_code == 404
