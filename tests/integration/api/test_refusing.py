"""Refusals and legal holds over HTTP, and the answer that is sent to the person."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

POST = {"model": "digits", "subject_id": "subject-0"}


def held(api: TestClient, **what: Any) -> Any:
    body = {"model": "digits", "reason": "case 3 O 17/26"} | what
    answer = api.post("/legal-holds", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_hold_refuses_and_its_release_does_not(api: TestClient) -> None:
    hold = held(api, subject_id="subject-0")
    assert (hold["of_subject"], hold["sample_count"], hold["released_at"]) == (True, 2, None)
    assert "subject-0" not in str(hold)
    answer = api.post("/erasure-requests", json=POST)
    assert answer.status_code == 202
    found = answer.json()
    assert (found["status"], found["refusal"], found["job_ids"]) == ("rejected", "legal_hold", [])
    detail = api.get(f"/erasure-requests/{found['id']}").json()
    assert [each["refusal"] for each in detail["history"]] == [None, "legal_hold", None]
    listed = api.get("/erasure-requests", params={"status": "rejected"}).json()["items"]
    assert [each["refusal"] for each in listed] == ["legal_hold"]
    told = api.get(f"/erasure-requests/{found['id']}/answer")
    assert told.headers["content-type"].startswith("text/plain")
    assert "the law obliges us to keep this data" in told.text
    assert "3 O 17/26" not in told.text
    done = api.post(f"/legal-holds/{hold['id']}/release", json={"reason": "final"}).json()
    assert done["release_reason"] == "final"
    again = api.post(f"/legal-holds/{hold['id']}/release", json={"reason": "final"})
    assert again.status_code == 409
    assert api.post("/erasure-requests", json=POST).json()["status"] == "scheduled"
    assert api.get("/legal-holds", params={"in_force": True}).json()["items"] == []


def test_holds_by_the_page(api: TestClient) -> None:
    ids = [held(api, sample_ids=[f"train/0000{n}"])["id"] for n in range(3)]
    first = api.get("/legal-holds", params={"limit": 2}).json()
    assert [each["id"] for each in first["items"]] == ids[:0:-1]
    rest = api.get("/legal-holds", params={"cursor": first["next"]}).json()
    assert ([each["id"] for each in rest["items"]], rest["next"]) == (ids[:1], None)


def test_a_refusal_has_a_reason_that_programs_know(api: TestClient) -> None:
    made = api.post("/erasure-requests", json=POST).json()
    path = f"/erasure-requests/{made['id']}"
    wrong = api.post(f"{path}/reject", json={"reason": "x", "refusal": "because"})
    assert (wrong.status_code, "insuf_verification" in wrong.json()["detail"]) == (422, True)
    body = {"reason": "no proof of identity came", "refusal": "insuf_verification"}
    found = api.post(f"{path}/reject", json=body).json()
    assert (found["status"], found["refusal"]) == ("rejected", "insuf_verification")
    text = api.get(f"{path}/answer").text
    assert "we could not confirm that the request comes from the person" in text
    assert "no proof of identity came" in text
    other = api.post("/erasure-requests", json=POST).json()
    found = api.post(f"/erasure-requests/{other['id']}/reject", json={"reason": "x"}).json()
    assert found["refusal"] == "other"


def test_a_withdrawn_request_is_no_refusal(api: TestClient) -> None:
    made = api.post("/erasure-requests", json=POST).json()
    path = f"/erasure-requests/{made['id']}"
    found = api.post(f"{path}/cancel", json={"reason": "asked by mistake"}).json()
    assert (found["status"], found["refusal"]) == ("cancelled", None)
    assert "was withdrawn" in api.get(f"{path}/answer").text
