"""The same surface once through on PostgreSQL: other types, other locks, a server's clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from core import keys
from core.backend import Backend
from core.settings import Settings
from service.app import create_app
from tests import factories
from tests.integration.api.hand import Hand

WHY = {"reason": "to see it work"}


@pytest.fixture
def backend(postgres_backend: Backend) -> Backend:
    factories.with_model(postgres_backend)
    return postgres_backend


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    settings: Settings = factories.other(backend.settings, poll_seconds=0.05)
    with backend.db.transaction() as tx:
        _, text = keys.create(tx, "everything", list(keys.SCOPES))
    with TestClient(create_app(settings, "api")) as client:
        client.headers["Authorization"] = f"Bearer {text}"
        yield client


def test_the_whole_surface(client: TestClient, backend: Backend) -> None:
    hand = Hand(backend)
    body = {"model": "digits", "subject_id": "subject-0"}
    again = {"Idempotency-Key": "k"}
    first = client.post("/erasure-requests", json=body, headers=again)
    assert first.status_code == 202
    assert client.post("/erasure-requests", json=body, headers=again).content == first.content
    path = first.headers["Location"]
    job_path = f"/jobs/{first.json()['job_id']}"
    due = datetime.fromisoformat(first.json()["due_at"]) + timedelta(days=10)
    extension = {"due_at": due.isoformat(), **WHY}
    assert client.post(f"{path}/extend", json=extension).status_code == 200
    held = hand.claim()
    joined = client.post("/erasure-requests", json=body).json()
    assert joined["status"] == "in_progress"
    etag = {"If-None-Match": client.get(job_path).headers["ETag"]}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, job_path, params={"wait": 30}, headers=etag)
        hand.report(held, step=5)
        assert waiting.result(timeout=10).json()["progress"]["step"] == 5
    hand.give_to_person(held, candidate={"digest": "0" * 64})
    assert client.post(f"{job_path}/reject", json=WHY).json()["status"] == "failed"
    assert client.post(f"{job_path}/retry").json()["status"] == "queued"
    held = hand.claim()
    hand.publish(held)
    assert client.post("/models/digits/rollback", json={"version": 1, **WHY}).status_code == 409
    hand.succeed(held)
    versions = client.get("/models/digits/versions").json()["items"]
    assert [each["state"] for each in versions] == ["serving", "retired"]
    assert client.get(path).json()["status"] == "completed"
    other = client.post("/erasure-requests", json=body | {"subject_id": "subject-1"}).json()
    assert client.post(f"/jobs/{other['job_id']}/cancel", json=WHY).json()["status"] == "cancelled"
    nobody = client.post("/erasure-requests", json=body | {"subject_id": "nobody"}).json()
    assert client.get(f"/erasure-requests/{nobody['id']}/certificate").status_code == 200
    listed = client.get("/erasure-requests", params={"overdue": False, "model": "digits"}).json()
    assert len(listed["items"]) == 4
    assert client.get("/jobs", params={"status": "cancelled"}).json()["items"] != []
    assert client.get("/models/digits").json()["serving"]["version"] == 2
    assert 'lethe_jobs{state="succeeded"} 1.0' in client.get("/metrics").text
    made = client.post("/keys", json={"name": "x", "scopes": ["read"]}).json()
    assert client.delete(f"/keys/{made['id']}").json()["revoked_at"] is not None
    assert client.get("/readyz").status_code == 200


def test_text_that_postgresql_cannot_hold_is_refused(client: TestClient) -> None:
    for path in ("/jobs/a%00b", "/models/a%00b", "/erasure-requests/a%00b", "/jobs?cursor=%00"):
        assert client.get(path).status_code == 422
    del client.headers["Authorization"]
    assert client.get("/jobs", headers={"Authorization": "Bearer a\0b"}).status_code in (401, 422)
