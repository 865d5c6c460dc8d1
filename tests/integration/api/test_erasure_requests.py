"""Erasure requests over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from core import audit, certificates, keys
from core.backend import Backend, open_backend
from core.identities import open_commitment
from core.records import ErasureRequest, Idempotency, Job
from core.settings import Settings
from tests import factories
from tests.integration.api.hand import Hand

JSON = {"Content-Type": "application/json"}
WHY = {"reason": "asked for by mistake"}


def posted(api: TestClient, subject: str = "subject-0", **more: Any) -> dict[str, Any]:
    answer = api.post("/erasure-requests", json={"model": "digits", "subject_id": subject, **more})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def count(backend: Backend, record: type) -> int:
    with backend.db.reading() as session:
        return session.scalar(select(func.count()).select_from(record)) or 0


def test_a_request_is_accepted_with_its_job_and_due_date(api: TestClient) -> None:
    answer = api.post(
        "/erasure-requests",
        json={
            "model": "digits",
            "subject_id": "subject-0",
            "external_id": "ticket-7",
            "regulation": "gdpr",
            "callback_url": "https://example.org/done",
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


def test_a_repeated_key_replays_the_answer(api: TestClient, api_backend: Backend) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"model": "digits", "subject_id": "subject-3"}
    first = api.post("/erasure-requests", json=body, headers=headers)
    again = api.post(
        "/erasure-requests",
        content=json.dumps({"subject_id": "subject-3", "model": "digits"}, indent=4),
        headers={**headers, **JSON},
    )
    assert again.status_code == 202
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = api.post("/erasure-requests", json={**body, "regulation": "gdpr"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["code"] == "conflict"
    assert count(api_backend, ErasureRequest) == 1
    assert count(api_backend, Job) == 1


def test_a_replay_outlives_the_samples(api: TestClient, api_backend: Backend) -> None:
    body = {"model": "digits", "sample_ids": ["train/00007"]}
    first = api.post("/erasure-requests", json=body, headers={"Idempotency-Key": "k"})
    dataset_id = api_backend_dataset(api_backend)
    key = api_backend.samples.find_sample_ids(dataset_id, ["train/00007"])["train/00007"]
    api_backend.samples.delete(dataset_id, [key])
    again = api.post("/erasure-requests", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.content) == (202, first.content)
    assert api.post("/erasure-requests", json=body).status_code == 422


def api_backend_dataset(backend: Backend) -> str:
    from core.datasets import dataset_named

    with backend.db.reading() as session:
        return dataset_named(session, "people").id


def test_each_key_has_its_own_idempotency_keys(api: TestClient, api_key: Any) -> None:
    body = {"model": "digits", "subject_id": "subject-3"}
    headers = {"Idempotency-Key": "k"}
    first = api.post("/erasure-requests", json=body, headers=headers).json()
    other = api.post("/erasure-requests", json=body, headers=headers | api_key("erase")).json()
    assert first["id"] != other["id"]


@pytest.mark.parametrize("value", ["", "k" * 256])
def test_idempotency_keys_have_a_length(api: TestClient, value: str) -> None:
    answer = api.post(
        "/erasure-requests",
        json={"model": "digits", "subject_id": "a"},
        headers={"Idempotency-Key": value},
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "header.idempotency-key"
    longest = {"Idempotency-Key": "k" * 255}
    body = {"model": "digits", "subject_id": "a"}
    assert api.post("/erasure-requests", json=body, headers=longest).status_code == 202


def test_nothing_kept_for_a_replay_names_the_subject(api: TestClient, api_backend: Backend) -> None:
    body = {"model": "digits", "subject_id": "subject-3"}
    api.post("/erasure-requests", json=body, headers={"Idempotency-Key": "k"})
    with api_backend.db.reading() as session:
        kept = session.scalars(select(Idempotency)).one()
    assert "subject-3" not in kept.answer
    assert api_backend.identities.salt(kept.request_id) not in kept.answer


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_eight_at_once_with_one_key_make_one_request(
    database: str, api_settings: Settings, request: pytest.FixtureRequest
) -> None:
    from service.app import create_app

    settings = api_settings
    if database == "postgresql":
        settings = factories.other(
            api_settings, database_url=request.getfixturevalue("postgres_db")
        )
        backend = open_backend(settings)
        factories.make_model(backend, factories.make_dataset(backend, "others"))
        backend.close()
    app = create_app(settings, "api")
    with TestClient(app) as api:
        backend = app.state.backend
        with backend.db.transaction() as tx:
            _, text = keys.create(tx, "eight", ["erase"])
        headers = {"Authorization": f"Bearer {text}", "Idempotency-Key": "the same"}
        body = {"model": "digits", "subject_id": "subject-0"}

        def post(_: int) -> tuple[int, bytes]:
            answer = api.post("/erasure-requests", json=body, headers=headers)
            return answer.status_code, answer.content

        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(post, range(8)))
        assert {status for status, _ in answers} == {202}
        assert len(answers) == 1
        assert count(backend, ErasureRequest) == count(backend, Job) == 1
        with backend.db.reading() as session:
            assert audit.verify_chain(session).broken_at is None


def test_a_request_joins_the_job_that_erases_its_subject(api: TestClient, api_hand: Hand) -> None:
    first = posted(api)
    held = api_hand.claim()
    second = posted(api)
    assert second["id"] != first["id"]
    assert second["job_ids"] == first["job_ids"] == [held.job_id]
    assert second["status"] == "in_progress"
    assert api.get(f"/jobs/{held.job_id}").json()["request_ids"] == [first["id"], second["id"]]


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
