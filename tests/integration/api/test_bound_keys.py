"""A key for one model: no call shows or does anything of another, whichever route it takes."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core import keys
from core.backend import Backend
from core.datasets import datasets
from core.keys import SCOPES
from tests.factories import make_dataset, make_model

OPEN = (
    "/livez",
    "/readyz",
    "/metrics",
    "/certificates/key",
    "/status/",
    "/discovery",
    "/v2/discovery",
    "/v1/discovery",
    "/opendsr",
)

BODIES: dict[str, Any] = {
    "cancel": {"reason": "x"},
    "extend": {"reason": "x", "due_at": "2099-01-01T00:00:00Z"},
    "policy": {"relearning": True},
    "rollback": {"version": 1, "reason": "x"},
}
"""What a call needs to get as far as the model; those of one reason are all alike."""

SEEN = ("request_id", "job_id", "hold_id", "delivery_id")
POSTED = {
    ("/erasure-requests", "post"),
    ("/legal-holds", "post"),
    *((f"{version}requests", "post") for version in ("/", "/v2/", "/v1/opengdpr_")),
}
"""They name a model in their body: see below."""

EVERY_MODEL = {
    "/keys",
    "/keys/{key_id}",
    "/keys/{key_id}/rotate",
    "/keys/{key_id}/webhook-secret",
    "/keys/{key_id}/webhook-secret/rotate",
}
"""Calls that no key for one model may make: with it one could make a key for another."""


@pytest.fixture
def bound(api_backend: Backend) -> dict[str, str]:
    """Headers of a key with every scope, for the model "letters"."""
    make_model(api_backend, make_dataset(api_backend, "texts"), "letters")
    with api_backend.db.transaction() as tx:
        _, text = keys.create(tx, "a test's", list(SCOPES), model="letters")
    return {"Authorization": f"Bearer {text}"}


def erased(api: TestClient, model: str, headers: dict[str, str]) -> dict[str, str]:
    body = {
        "model": model,
        "subject_id": "subject-1",
        "callback_url": "https://93.184.215.14/done",
    }
    posted = api.post("/erasure-requests", json=body, headers=headers)
    assert posted.status_code == 202, posted.text
    found = posted.json()
    held = {"model": model, "subject_id": "subject-5", "reason": "x"}
    hold_id = api.post("/legal-holds", json=held).json()["id"]
    key_id = next(each["id"] for each in api.get("/keys").json()["items"])
    return {
        "request_id": found["id"],
        "job_id": found["job_id"],
        "name": model,
        "key_id": key_id,
        "hold_id": hold_id,
        "number": "7a1b2c3d-0000-4000-8000-000000000000",
        "delivery_id": api.get("/deliveries", headers=headers).json()["items"][0]["id"],
    }


def test_no_route_lets_it_reach_another_model(
    api: TestClient, api_app: FastAPI, bound: dict[str, str]
) -> None:
    """Routes to come too: one with a parameter that is not known here fails until it is."""
    others = erased(api, "digits", {})
    for path, operations in api_app.openapi()["paths"].items():
        for method in operations:
            if path.startswith(OPEN) or (path, method) in POSTED:
                continue
            body = BODIES.get(path.rpartition("/")[2], {"reason": "x"})
            if path == "/erasure-requests/bulk":
                body = {"items": [{"model": "digits", "subject_id": "subject-2"}]}
            if path == "/keys":
                body = {"name": "x", "scopes": ["read"]}
            elif path.endswith("/rotate"):
                body = {}
            sent = {} if method in ("get", "delete") else {"json": body}
            answer = api.request(method, path.format(**others), headers=bound, **sent)
            told = (method, path, answer.status_code, answer.text)
            if path in {*EVERY_MODEL, "/erasure-requests/bulk"}:
                assert answer.status_code == 403, told
            elif "{" in path:
                assert answer.status_code in (403, 404), told
            else:
                assert answer.status_code == 200, told
                for value in (*(others[name] for name in SEEN), '"digits"'):
                    assert value not in answer.text, told
    assert api.get(f"/jobs/{others['job_id']}").json()["status"] == "queued"


def test_naming_another_is_refused_whether_it_is_there_or_not(
    api: TestClient, bound: dict[str, str]
) -> None:
    for model in ("digits", "nowhere"):
        asked = {"model": model, "subject_id": "subject-1"}
        refused = [
            api.post("/erasure-requests", json=asked, headers=bound),
            api.post("/legal-holds", json=asked | {"reason": "x"}, headers=bound),
            api.get("/erasure-requests", params={"model": model}, headers=bound),
            api.get("/jobs", params={"model": model}, headers=bound),
            api.get(f"/models/{model}", headers=bound),
        ]
        for answer in refused:
            assert answer.status_code == 403
            assert answer.json()["detail"] == "this key is for the model 'letters' alone"


def test_of_its_own_model_it_does_all(api: TestClient, bound: dict[str, str]) -> None:
    own = erased(api, "letters", bound)
    for path in ("/erasure-requests/{request_id}", "/jobs/{job_id}", "/models/{name}"):
        assert api.get(path.format(**own), headers=bound).status_code == 200
    for path in ("/erasure-requests", "/jobs", "/models"):
        assert len(api.get(path, headers=bound).json()["items"]) == 1
        named = {"model": "letters"} if path != "/models" else {}
        assert len(api.get(path, params=named, headers=bound).json()["items"]) == 1
    ended = api.post(f"/jobs/{own['job_id']}/cancel", json={"reason": "x"}, headers=bound)
    assert ended.json()["status"] == "cancelled"


def test_a_job_that_carries_anothers_request_is_not_cancelled_with_it(
    api: TestClient, api_backend: Backend, bound: dict[str, str]
) -> None:
    """Models that were trained on the same samples share what is erased."""
    with api_backend.db.reading() as session:
        [people] = [each for each in datasets(session) if each.name == "people"]
    make_model(api_backend, people, "digits-2")
    with api_backend.db.transaction() as tx:
        _, text = keys.create(tx, "a test's", ["review", "read"], model="digits-2")
    only = {"Authorization": f"Bearer {text}"}
    body = {"model": "digits", "subject_id": "subject-1"}
    job_ids = api.post("/erasure-requests", json=body).json()["job_ids"]
    seen = [each for each in job_ids if api.get(f"/jobs/{each}", headers=only).status_code == 200]
    assert len(seen) == 1
    answer = api.post(f"/jobs/{seen[0]}/cancel", json={"reason": "x"}, headers=only)
    assert (answer.status_code, "another model" in answer.json()["detail"]) == (409, True)
