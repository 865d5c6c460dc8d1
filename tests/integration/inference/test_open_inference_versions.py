"""The Open Inference Protocol on the wire: versions, what is ready, and when nothing is."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core import registry
from core.settings import Settings
from service.app import create_app
from tests.integration.inference.wire import error_of, infer


@pytest.mark.parametrize("version", ["x", "-1", "1.0", "²", "9" * 400, "%2e"])
def test_a_version_is_a_number(client: TestClient, version: str) -> None:
    said = error_of(client.get(f"/v2/models/digits/versions/{version}"), 400)
    assert said.startswith("path: expected a version's number, such as 1, got ")
    assert len(said) < 120


@pytest.mark.parametrize("version", ["0", "2", "9" * 18])
def test_a_version_that_is_not_served_is_not_found(client: TestClient, version: str) -> None:
    for call in ("", "/ready", "/config", "/stats"):
        error_of(client.get(f"/v2/models/digits/versions/{version}{call}"), 404)
    error_of(infer(client, path=f"/v2/models/digits/versions/{version}/infer"), 404)


def test_the_index_of_what_is_ready(client: TestClient) -> None:
    loader = client.app.state.loader  # type: ignore[attr-defined]
    status = loader.status
    broken = {"version": None, "digest": None, "error": "its file is missing"}
    loader.status = lambda: status() | {"faces": broken}
    try:
        every = client.post("/v2/repository/index", json={}).json()
        ready = client.post("/v2/repository/index", json={"ready": True}).json()
    finally:
        loader.status = status
    assert every == [
        {"name": "digits", "version": "1", "state": "READY", "reason": ""},
        {"name": "faces", "version": "", "state": "UNAVAILABLE", "reason": "its file is missing"},
    ]
    assert ready == every[:1]


def test_statistics_of_a_model_that_was_not_asked_yet(settings: Settings, trained: Path) -> None:
    shutil.copytree(trained, settings.home, dirs_exist_ok=True)
    with TestClient(create_app(settings)) as fresh:
        key = (settings.home / "api-key").read_text().strip()
        fresh.headers["Authorization"] = f"Bearer {key}"
        assert fresh.get("/v2/models/stats").json() == {"model_stats": []}
        (found,) = fresh.get("/v2/models/digits/stats").json()["model_stats"]
        assert (found["version"], found["inference_count"], found["last_inference"]) == ("1", 0, 0)


def test_retained_versions_can_be_asked_for_until_they_remember_somebody(
    settings: Settings, trained: Path
) -> None:
    shutil.copytree(trained, settings.home, dirs_exist_ok=True)
    settings.poll_seconds = 0.05
    with TestClient(create_app(settings)) as several:
        key = (settings.home / "api-key").read_text().strip()
        several.headers["Authorization"] = f"Bearer {key}"
        backend = several.app.state.backend  # type: ignore[attr-defined]
        with backend.db.reading() as session:
            before = registry.serving(session, registry.model_named(session, "digits").id)
            old = backend.checkpoints.read(before.digest)
        arrays = {name: array * np.float32(0.5) for name, array in old.arrays.items()}
        stored = backend.checkpoints.write(arrays, old.metadata)
        with backend.db.transaction() as tx:
            model = registry.lock_model(tx, before.model_id)
            version = registry.add_version(
                tx, model, digest=stored.digest, metrics={}, parent=before
            )
            registry.publish(tx, version)
        until = time.monotonic() + 20
        while infer(several).json()["model_version"] != "2":
            assert time.monotonic() < until
            time.sleep(0.02)
        metadata = several.get("/v2/models/digits").json()
        assert (metadata["versions"], metadata["parameters"]["digest"]) == (
            ["1", "2"],
            version.digest,
        )
        first = several.get("/v2/models/digits/versions/1").json()
        assert (first["versions"], first["parameters"]["digest"]) == (["1", "2"], before.digest)
        config = several.get("/v2/models/digits/config").json()
        assert config["version_policy"] == {"specific": {"versions": [1, 2]}}
        pinned = infer(several, path="/v2/models/digits/versions/1/infer").json()
        assert (pinned["model_version"], pinned["parameters"]["digest"]) == ("1", before.digest)
        stats = several.get("/v2/models/digits/stats").json()["model_stats"]
        assert [each["version"] for each in stats] == ["1", "2"]

        posted = several.post(
            "/erasure-requests", json={"model": "digits", "subject_id": "subject-3"}
        )
        assert posted.status_code == 202
        assert several.get("/v2/models/digits").json()["versions"] == ["2"]
        while infer(several, path="/v2/models/digits/versions/1/infer").status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        refused = infer(several, path="/v2/models/digits/versions/1/infer")
        assert "remembers what is to be forgotten" in error_of(refused, 409)
        assert infer(several).json()["model_version"] == "2"


def test_without_a_model_it_lives_but_is_not_ready(settings: Settings) -> None:
    with TestClient(create_app(settings)) as empty:
        key = (settings.home / "api-key").read_text().strip()
        empty.headers["Authorization"] = f"Bearer {key}"
        assert empty.get("/v2/health/live").json() == {"live": True}
        answer = empty.get("/v2/health/ready")
        assert "no model is served yet" in error_of(answer, 503)
        assert answer.headers["Retry-After"]
        assert "lethe train" in error_of(infer(empty), 503)
        assert empty.post("/v2/repository/index").json() == []


def test_a_process_that_stops_is_not_ready(settings: Settings, trained: Path) -> None:
    shutil.copytree(trained, settings.home, dirs_exist_ok=True)
    with TestClient(create_app(settings)) as stopping:
        assert stopping.get("/v2/health/ready").json() == {"ready": True}
        stopping.app.state.watcher.release()  # type: ignore[attr-defined]
        assert "stops" in error_of(stopping.get("/v2/health/ready"), 503)
        assert stopping.get("/v2/health/live").status_code == 200
