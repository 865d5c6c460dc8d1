"""Liveness, readiness and metrics."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from core import replicas, workers
from core.backend import Backend
from core.db import Database
from core.records import ErasureRequest, Job
from core.settings import Settings
from core.states import JOB, REQUEST
from service.app import create_app
from tests import factories
from tests.integration.api.hand import Hand


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
        "workers": 0,
        "waiting": 0,
        "overdue": 0,
        "warnings": ["no worker is running: start one with `lethe worker`"],
    }


def test_what_somebody_must_see_to(api: TestClient, api_backend: Backend) -> None:
    factories.submit(api_backend, "subject-0")
    factories.submit(api_backend, "subject-1")
    with api_backend.db.transaction() as tx:
        past = tx.now - timedelta(days=1)
        tx.session.execute(update(ErasureRequest).values(due_at=past))
    answer = api.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["warnings"] == [
        "no worker is running and 2 jobs wait: start one with `lethe worker`",
        "2 erasure requests are overdue: GET /erasure-requests?overdue=true lists them",
    ]
    workers.beat(api_backend.db, "host:1", 30.0)
    with api_backend.db.transaction() as tx:
        tx.session.execute(update(ErasureRequest).values(due_at=tx.now + timedelta(days=1)))
    body = api.get("/readyz").json()
    assert (body["workers"], body["waiting"], body["overdue"], body["warnings"]) == (1, 2, 0, [])


def test_not_ready_without_a_database(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Database) -> None:
        raise OSError("no route to host, by name of secret")

    monkeypatch.setattr(Database, "reading", fail)
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not ready"
    assert answer.json()["checks"]["database"]["ok"] is False
    assert answer.json()["workers"] is None
    assert answer.json()["warnings"] == []
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


def scraped(api: TestClient) -> dict[tuple[str, ...], float]:
    """Samples by their name and the values of their labels, in the labels' order."""
    answer = api.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_count_by_state(api: TestClient, api_backend: Backend) -> None:
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    workers.beat(api_backend.db, "host:1", 30.0)
    found = scraped(api)
    for noun, machine in (("erasure_requests", REQUEST), ("jobs", JOB)):
        states = {key[1] for key in found if key[0] == f"lethe_{noun}"}
        assert states == set(machine.moves)
    assert found["lethe_erasure_requests", "scheduled"] == 1
    assert found["lethe_jobs", "queued"] == 1
    assert found["lethe_jobs", "running"] == 0
    assert found["lethe_drift_budget_left_ratio", "jobs", "digits"] == 1.0
    assert found["lethe_workers",] == 1
    assert found["lethe_queue_age_seconds",] >= 0
    assert 27 < found["lethe_nearest_deadline_seconds",] / 86_400 < 32
    assert found["lethe_erasure_requests_overdue",] == 0
    assert found["lethe_swaps_total", "digits"] == 1
    assert found["lethe_serving_version", "digits"] == 1
    assert found["lethe_http_requests_total", "POST", "/erasure-requests", "202"] == 1


def test_metrics_of_a_job_under_way_and_done(
    api: TestClient, api_hand: Hand, api_backend: Backend
) -> None:
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    held = api_hand.claim()
    api_hand.report(held, phase="unlearning", fraction=0.5)
    found = scraped(api)
    assert found["lethe_jobs_held", "unlearning"] == 1
    replica = replicas.announce(api_backend.db, 30.0)
    version = api_hand.publish(held)
    assert replicas.adopt(api_backend.db, replica, version, factories.entry_of(version))
    gates = [{"gate": "G1", "name": "membership", "verdict": "PASS"}]
    with api_backend.db.transaction() as tx:
        tx.session.get_one(Job, held.job_id).verification = {"verdict": "PASS", "gates": gates}
    api_hand.succeed(held)
    found = scraped(api)
    assert found["lethe_swaps_total", "digits"] == 2
    assert [v for k, v in found.items() if k[:2] == ("lethe_replica_version", "digits")] == [2]
    assert [v for k, v in found.items() if k[:2] == ("lethe_replica_load_failed", "digits")] == [0]
    assert found["lethe_job_verdicts", "PASS"] == 1
    assert found["lethe_gate_verdicts", "G1", "membership", "PASS"] == 1
    assert found["lethe_erasure_seconds_count",] == 1
    assert found["lethe_erasure_seconds_bucket", "60"] == 1
    assert found["lethe_erasure_seconds_bucket", "+Inf"] == 1
    assert 0 < found["lethe_erasure_seconds_sum",] < 60
    assert ("lethe_nearest_deadline_seconds",) not in found
