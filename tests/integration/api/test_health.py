"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from core.db import Database
from core.settings import Settings
from core.states import JOB, REQUEST
from service.app import create_app


class FakeLoader:
    """What readiness asks of the loader."""

    def __init__(self, models: dict[str, Any], ready: bool) -> None:
        self._models, self._ready = models, ready

    def status(self) -> dict[str, Any]:
        return self._models

    def ready(self) -> bool:
        return self._ready


def test_alive(api: TestClient) -> None:
    answer = api.get("/livez", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_api_alone_is_ready_without_a_model(api: TestClient) -> None:
    answer = api.get("/readyz", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": {"ok": True, "detail": "answers"}},
        "models": {},
    }


def test_not_ready_without_a_database(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Database) -> None:
        raise OSError("no route to host, by name of secret")

    monkeypatch.setattr(Database, "reading", fail)
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not ready"
    assert answer.json()["checks"]["database"]["ok"] is False
    assert "secret" not in answer.text
    assert api.get("/livez").status_code == 200


SERVED = {"digits": {"version": 1, "digest": "a" * 64, "error": None}}
BROKEN = {"digits": {"version": None, "digest": None, "error": "corrupt"}}


@pytest.mark.parametrize(
    ("models", "ready", "says"),
    [
        (SERVED, True, "served: digits"),
        (SERVED, False, "lost its lease"),
        (BROKEN, False, "see `models`"),
        ({}, False, "lethe train"),
    ],
)
def test_ready_where_a_model_is_served(
    api: TestClient, api_app: FastAPI, models: dict[str, Any], ready: bool, says: str
) -> None:
    api_app.state.loader = FakeLoader(models, ready)
    answer = api.get("/readyz")
    assert answer.status_code == (200 if ready else 503)
    body = answer.json()
    assert body["checks"]["model"]["ok"] is ready
    assert says in body["checks"]["model"]["detail"]
    assert body["models"] == models


def test_the_whole_service_without_a_model_is_not_ready(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["model"]["ok"] is False
        key = {"Authorization": f"Bearer {client.app.state.first_key.text}"}  # type: ignore[attr-defined]
        assert client.post("/predict", json={"inputs": []}, headers=key).status_code >= 400


def test_metrics_count_by_state(api: TestClient) -> None:
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    answer = api.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    left = {key: samples.pop(key) for key in list(samples) if "drift" in key[0]}
    assert {key[1:] for key in left} == {
        (limit, "digits") for limit in ("erased_share", "jobs", "accuracy_lost", "days")
    }
    assert left["lethe_drift_budget_left_ratio", "jobs", "digits"] == 1.0
    assert samples["lethe_erasure_requests", "scheduled"] == 1
    assert samples["lethe_jobs", "queued"] == 1
    assert samples["lethe_jobs", "running"] == 0
    assert len(samples) == len(REQUEST.moves) + len(JOB.moves)
