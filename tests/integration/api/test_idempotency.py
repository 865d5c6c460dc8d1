"""Erasure requests with an Idempotency-Key: posted again, they are answered as before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from core import audit, keys
from core.backend import Backend, open_backend
from core.records import ErasureRequest, Idempotency, Job
from core.settings import Settings
from tests import factories
from tests.integration.api.hand import count

JSON = {"Content-Type": "application/json"}


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
