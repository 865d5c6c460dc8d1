"""Erasure requests cancelled, rejected and extended over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.integration.api.hand import Hand, posted

WHY = {"reason": "asked for by mistake"}


def test_cancel_while_queued_ends_the_job(api: TestClient) -> None:
    request = posted(api)
    answer = api.post(f"/erasure-requests/{request['id']}/cancel", json=WHY)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["outcome"], body["reason"]) == (
        "cancelled",
        "cancelled",
        WHY["reason"],
    )
    assert body["completed_at"].endswith("Z")
    assert api.get(f"/jobs/{request['job_id']}").json()["status"] == "cancelled"
    again = api.post(f"/erasure-requests/{request['id']}/cancel", json=WHY)
    assert again.status_code == 409


def test_cancel_while_running_asks_the_worker(api: TestClient, api_hand: Hand) -> None:
    request = posted(api)
    held = api_hand.claim()
    body = api.post(f"/erasure-requests/{request['id']}/cancel", json=WHY).json()
    assert body["status"] == "in_progress"
    assert body["outcome"] == "cancelled"
    assert api.get(f"/jobs/{held.job_id}").json()["cancel_requested"] is True


def test_cancel_comes_too_late_once_published(api: TestClient, api_hand: Hand) -> None:
    request = posted(api)
    api_hand.publish(api_hand.claim())
    answer = api.post(f"/erasure-requests/{request['id']}/cancel", json=WHY)
    assert answer.status_code == 409
    assert "destroying" in answer.json()["detail"]


def test_reject_and_extend(api: TestClient) -> None:
    request = posted(api)
    due = datetime.fromisoformat(request["due_at"])
    path = f"/erasure-requests/{request['id']}"
    later = {"due_at": (due + timedelta(days=60)).isoformat(), "reason": "complex"}
    extended = api.post(f"{path}/extend", json=later)
    assert extended.status_code == 200
    assert datetime.fromisoformat(extended.json()["due_at"]) == due + timedelta(days=60)
    assert api.get(f"/jobs/{request['job_id']}").json()["due_at"] == extended.json()["due_at"]
    sooner = {"due_at": due.isoformat(), "reason": "hurry"}
    assert api.post(f"{path}/extend", json=sooner).status_code == 422
    naive = {"due_at": "2040-01-01T00:00:00", "reason": "no zone"}
    assert api.post(f"{path}/extend", json=naive).status_code == 422
    assert api.post(f"{path}/reject", json={"reason": " "}).status_code == 422
    rejected = api.post(f"{path}/reject", json={"reason": "not who they say they are"})
    assert rejected.json()["status"] == "rejected"
    assert api.post(f"{path}/extend", json=later).status_code == 409


@pytest.mark.parametrize("action", ["cancel", "reject", "extend"])
def test_actions_on_what_is_not_there_are_404(api_quiet: TestClient, action: str) -> None:
    body = {"reason": "x"} | ({"due_at": "2040-01-01T00:00:00Z"} if action == "extend" else {})
    assert api_quiet.post(f"/erasure-requests/er_none/{action}", json=body).status_code == 404
    assert api_quiet.get("/erasure-requests/er_none").status_code == 404
    assert api_quiet.get("/erasure-requests/er_none/certificate").status_code == 404
