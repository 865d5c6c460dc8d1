"""Erasure requests over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core import certificates
from core.backend import Backend
from core.identities import open_commitment
from core.records import ErasureRequest
from tests.integration.api.hand import Hand, posted

JSON = {"Content-Type": "application/json"}
WHY = {"reason": "asked for by mistake"}


def test_a_request_is_accepted_with_its_job_and_due_date(api: TestClient) -> None:
    answer = api.post(
        "/erasure-requests",
        json={
            "model": "digits",
            "subject_id": "subject-0",
            "external_id": "ticket-7",
            "regulation": "gdpr",
            "callback_url": "https://93.184.215.14/done",
            "strategy": "retrain",
        },
    )
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["Location"] == f"/erasure-requests/{body['id']}"
    assert body["status"] == "scheduled"
    assert body["job_ids"] == [body["job_id"]]
    assert body["sample_count"] == 2
    assert body["outcome"] is None
    assert body["external_id"] == "ticket-7"
    assert body["strategy"] == "retrain"
    assert body["received_at"].endswith("Z")
    received, due = (datetime.fromisoformat(body[name]) for name in ("received_at", "due_at"))
    assert timedelta(days=28) <= due - received <= timedelta(days=31)
    assert api.get(answer.headers["Location"]).json()["id"] == body["id"]
    assert api.get(f"/jobs/{body['job_id']}").json()["strategy"] == "retrain"


def test_samples_may_be_named(api: TestClient) -> None:
    answer = api.post(
        "/erasure-requests",
        json={"model": "digits", "sample_ids": ["train/00004", "train/00005", "train/00004"]},
    )
    assert answer.status_code == 202
    assert answer.json()["sample_count"] == 2
    detail = api.get(answer.headers["Location"]).json()
    assert detail["commitment"] is None
    assert detail["commitment_salt"] is None


def test_unknown_samples_are_named(api_quiet: TestClient) -> None:
    answer = api_quiet.post(
        "/erasure-requests", json={"model": "digits", "sample_ids": ["train/00001", "no", "nor"]}
    )
    assert answer.status_code == 422
    body = answer.json()
    assert body["code"] == "invalid"
    assert body["errors"] == [
        {"where": "sample_ids", "message": "unknown: no"},
        {"where": "sample_ids", "message": "unknown: nor"},
    ]


def test_an_unknown_model_is_404_and_says_which_exist(api_quiet: TestClient) -> None:
    answer = api_quiet.post("/erasure-requests", json={"model": "mnits", "subject_id": "a"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "digits" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"{", "body, character 1"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"{}", "model"),
        (b'{"model": 5, "subject_id": "a"}', "model"),
        (b'{"model": "digits", "subject_id": 42}', "subject_id"),
        (b'{"model": "digits", "subject_id": ""}', "subject_id"),
        (b'{"model": "digits", "sample_ids": "train/00001"}', "sample_ids"),
        (b'{"model": "digits", "sample_ids": []}', "sample_ids"),
        (b'{"model": "digits", "sample_ids": [1]}', "sample_ids.0"),
        (b'{"model": "digits", "subject_id": "a\\u0000"}', "subject_id"),
        (b'{"model": "digits", "subject_id": "\\ud800"}', "subject_id"),
        (b'{"model": "digits", "subject_id": "a", "surname": "Meyer"}', "surname"),
        (b'{"model": "digits", "subject_id": "a", "callback_url": "ftp://x"}', "callback_url"),
        (b'{"model": "digits", "subject_id": "a", "callback_url": "no"}', "callback_url"),
    ],
)
def test_a_wrong_body_is_422_and_says_where(api_quiet: TestClient, body: bytes, where: str) -> None:
    answer = api_quiet.post("/erasure-requests", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid"
    assert problem["errors"][0]["where"] == where
    assert "Meyer" not in answer.text
    assert api_quiet.get("/erasure-requests").json()["items"] == []


@pytest.mark.parametrize(
    "more", [{}, {"subject_id": "a", "sample_ids": ["train/00001"]}, {"strategy": "magic"}]
)
def test_what_the_use_case_refuses_is_422(api_quiet: TestClient, more: dict[str, Any]) -> None:
    if "strategy" in more:
        more["subject_id"] = "a"
    answer = api_quiet.post("/erasure-requests", json={"model": "digits", **more})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"


def test_a_body_that_is_not_declared_as_json_is_told_so(api_quiet: TestClient) -> None:
    answer = api_quiet.post("/erasure-requests", content=b'{"model": "digits", "subject_id": "a"}')
    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]


def test_a_subject_without_samples_completes_with_a_certificate(api: TestClient) -> None:
    body = posted(api, "nobody")
    assert body["status"] == "completed"
    assert body["outcome"] == "no_data_found"
    assert (body["job_id"], body["job_ids"], body["sample_count"]) == (None, [], 0)
    text = api.get(f"/erasure-requests/{body['id']}/certificate")
    assert text.headers["Content-Type"] == "application/json"
    document = certificates.verify(text.content, api.get("/certificates/key").text)
    assert document["outcome"] == "no_data_found"
    detail = api.get(f"/erasure-requests/{body['id']}").json()
    assert open_commitment(detail["commitment_salt"], "nobody") == detail["commitment"]
    assert document["subject"]["commitment"] == detail["commitment"]


def test_there_is_no_certificate_before_the_end(api: TestClient) -> None:
    answer = api.get(f"/erasure-requests/{posted(api)['id']}/certificate")
    assert answer.status_code == 409
    assert "scheduled" in answer.json()["detail"]


def test_the_salt_is_for_those_who_erase(api: TestClient, api_key: Any) -> None:
    request_id = posted(api)["id"]
    for scopes, shown in ((("read",), False), (("erase",), True), (("read", "erase"), True)):
        detail = api.get(f"/erasure-requests/{request_id}", headers=api_key(*scopes)).json()
        assert (detail["commitment_salt"] is not None) is shown
        assert detail["commitment"] is not None


def test_the_history_tells_what_happened(api: TestClient) -> None:
    request_id = posted(api)["id"]
    later = datetime.fromisoformat(posted(api, "subject-1")["due_at"]) + timedelta(days=60)
    due = later.isoformat()
    api.post(f"/erasure-requests/{request_id}/extend", json={"due_at": due, "reason": "complex"})
    api.post(f"/erasure-requests/{request_id}/cancel", json=WHY)
    history = api.get(f"/erasure-requests/{request_id}").json()["history"]
    assert [(each["event"], each["from"], each["to"]) for each in history] == [
        ("received", None, None),
        ("moved", "received", "scheduled"),
        ("extended", None, None),
        ("moved", "scheduled", "cancelled"),
    ]
    assert history[2]["reason"] == "complex"
    assert history[2]["due_at"] is not None
    assert history[3]["reason"] == WHY["reason"]
    assert all(each["at"].endswith("Z") for each in history)


def test_lists_come_in_pages_and_filtered(api: TestClient, api_backend: Backend) -> None:
    ids = [posted(api, f"subject-{i}")["id"] for i in range(5)]
    first = api.get("/erasure-requests", params={"limit": 2}).json()
    second = api.get("/erasure-requests", params={"limit": 2, "cursor": first["next"]}).json()
    third = api.get("/erasure-requests", params={"limit": 2, "cursor": second["next"]}).json()
    seen = [item["id"] for each in (first, second, third) for item in each["items"]]
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 5
    assert third["next"] is None
    api.post(f"/erasure-requests/{ids[0]}/cancel", json=WHY)
    cancelled = api.get("/erasure-requests", params={"status": "cancelled"}).json()["items"]
    assert [item["id"] for item in cancelled] == [ids[0]]
    assert len(api.get("/erasure-requests", params={"model": "digits"}).json()["items"]) == 5
    assert api.get("/erasure-requests", params={"overdue": True}).json()["items"] == []
    with api_backend.db.transaction() as tx:
        late = tx.session.get_one(ErasureRequest, ids[1])
        late.due_at = tx.now - timedelta(days=1)
    overdue = api.get("/erasure-requests", params={"overdue": "true"}).json()["items"]
    assert [item["id"] for item in overdue] == [ids[1]]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"status": "lost"}, 422),
        ({"model": "nope"}, 404),
        ({"limit": 0}, 422),
        ({"limit": 201}, 422),
        ({"limit": "x"}, 422),
        ({"overdue": "perhaps"}, 422),
        ({"cursor": "\0"}, 422),
    ],
)
def test_wrong_filters_are_refused(
    api_quiet: TestClient, params: dict[str, Any], status: int
) -> None:
    assert api_quiet.get("/erasure-requests", params=params).status_code == status


def test_a_request_joins_the_job_that_erases_its_subject(api: TestClient, api_hand: Hand) -> None:
    first = posted(api)
    held = api_hand.claim()
    second = posted(api)
    assert second["id"] != first["id"]
    assert second["job_ids"] == first["job_ids"] == [held.job_id]
    assert second["status"] == "in_progress"
    assert api.get(f"/jobs/{held.job_id}").json()["request_ids"] == [first["id"], second["id"]]
