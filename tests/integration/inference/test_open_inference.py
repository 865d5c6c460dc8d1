"""The Open Inference Protocol as bytes on the wire: keys, paths, forms, errors."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core import keys, registry
from core.backend import open_backend
from core.errors import Gone, TimedOut, TooBusy
from core.records import Dataset
from core.settings import Settings
from service.app import create_app
from service.inference.open_inference_calls import CALLS, OPEN
from tests.integration.inference.wire import INFER, error_of, served

BLANK: dict[str, Any] = {
    "name": "image",
    "datatype": "FP32",
    "shape": [1, 1, 8, 8],
    "data": [0.0] * 64,
}
FILLED = {"{model}": "digits", "{version}": "1", "{region}": "a"}
EVERY = [
    (method, template, re.sub(r"{\w+}", lambda found: FILLED[found[0]], template))
    for template, methods in CALLS.items()
    for method in methods
]


@pytest.fixture(scope="module")
def client(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(trained, tmp_path_factory.mktemp("wire")) as client:
        yield client


def infer(client: TestClient, *, path: str = INFER, **changed: Any) -> Any:
    return client.post(path, json={"inputs": [BLANK]} | changed)


@pytest.mark.parametrize(("method", "template", "path"), EVERY)
def test_every_call_needs_a_key_but_for_health(
    client: TestClient, method: str, template: str, path: str
) -> None:
    answer = client.request(method, path, headers={"Authorization": ""})
    if template in OPEN:
        assert answer.status_code == 200
    else:
        assert "send an API key" in error_of(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    basic = client.request(method, path, headers={"Authorization": "Basic abc"})
    assert basic.status_code == (200 if template in OPEN else 401)


def test_a_key_without_the_scope_is_told_which(client: TestClient) -> None:
    backend = open_backend(client.app.state.settings)  # type: ignore[attr-defined]
    with backend.db.transaction() as tx:
        _, key = keys.create(tx, "reads", ["read", "erase"])
    backend.close()
    answer = client.get("/v2", headers={"Authorization": f"Bearer {key}"})
    assert error_of(answer, 403) == "this needs the scope 'predict'; the key has erase, read"
    assert 'scope="predict"' in answer.headers["WWW-Authenticate"]


def bound(client: TestClient, model: str) -> dict[str, str]:
    """Headers of a key for one model; "letters" is made where it is not there."""
    backend = open_backend(client.app.state.settings)  # type: ignore[attr-defined]
    with backend.db.transaction() as tx:
        digits = registry.model_named(tx.session, "digits")
        if model not in {each.name for each in registry.models(tx.session)}:
            dataset = tx.session.get_one(Dataset, digits.dataset_id)
            registry.create_model(tx, model, dataset, architecture={}, training={})
        _, key = keys.create(tx, "one model's", ["predict"], model=model)
    backend.close()
    return {"Authorization": f"Bearer {key}"}


def test_a_key_for_another_model_reaches_nothing_of_this_one(client: TestClient) -> None:
    only = bound(client, "letters")
    for method, template, path in EVERY:
        answer = client.request(method, path, headers=only)
        if "{model}" in template:
            assert error_of(answer, 403) == "this key is for the model 'letters' alone"
        elif template not in OPEN:
            assert "digits" not in answer.text, path
    asked = {"inputs": [[[[0.0] * 8] * 8]]}
    for model in ({"model": "digits"}, {"model": "nowhere"}):
        answer = client.post("/predict", json=asked | model, headers=only)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert client.post("/predict?model=digits", json=asked, headers=only).status_code == 403
    answer = client.post("/predict", json=asked, headers=only)
    assert "letters" in answer.json()["detail"], "it is asked of its own model"


def test_a_key_for_one_model_predicts_with_it(client: TestClient) -> None:
    only = bound(client, "digits")
    answer = client.post(INFER, json={"inputs": [BLANK]}, headers=only)
    assert (answer.status_code, answer.json()["model_name"]) == (200, "digits")
    answer = client.post("/predict", json={"inputs": [[[[0.0] * 8] * 8]]}, headers=only)
    assert answer.json()["model"] == "digits"
    index = client.post("/v2/repository/index", headers=only).json()
    assert [each["name"] for each in index] == ["digits"]


@pytest.mark.parametrize(("method", "template", "path"), EVERY)
def test_another_method_is_refused_with_those_there_are(
    client: TestClient, method: str, template: str, path: str
) -> None:
    answer = client.request("PUT", path)
    assert method in error_of(answer, 405)
    assert method in answer.headers["Allow"]
    assert client.request("HEAD", path).status_code == (
        405 if "GET" not in CALLS[template] else client.get(path).status_code
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v2/x",
        "/v2/models",
        "/v2/models/digits/versions",
        "/v2/models/digits/x",
        "/v2//models/a/b",
        "/v2/models/digits/versions/1/infer/more",
        "/v2/health",
        "/v2/repository/models/digits",
    ],
)
def test_a_path_that_is_no_call_is_not_found(client: TestClient, path: str) -> None:
    assert "has no call" in error_of(client.get(path), 404)
    assert "has no call" in error_of(client.post(path), 404)


def test_the_root_with_and_without_a_slash(client: TestClient) -> None:
    assert client.get("/v2/").json() == client.get("/v2").json()
    assert client.get("/v2x").headers["Content-Type"] == "application/problem+json"


def test_an_api_alone_has_no_protocol_but_its_errors(settings: Settings) -> None:
    with TestClient(create_app(settings, "api")) as api:
        error_of(api.get("/v2"), 404)


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


def test_an_answer_in_json(client: TestClient) -> None:
    answer = infer(client, id="a")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Model-Version"] == "1"
    assert "Inference-Header-Content-Length" not in answer.headers
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("digits", "1", "a")
    probabilities, index, label, uncertainty = body["outputs"]
    assert probabilities["shape"] == [1, 10]
    assert sum(probabilities["data"]) == pytest.approx(1.0, abs=1e-5)
    assert probabilities["data"][index["data"][0]] == max(probabilities["data"])
    assert label["data"] == [str(index["data"][0])]
    assert 0.0 <= uncertainty["data"][0] <= np.log(10)
    named = infer(client, path="/v2/models/digits/versions/1/infer")
    assert named.json()["outputs"][:3] == body["outputs"][:3]


def test_pixels_alone_are_answered_in_binary(client: TestClient) -> None:
    """curl --data-binary @pixels -H 'Inference-Header-Content-Length: 0'."""
    headers = {"Inference-Header-Content-Length": "0"}
    answer = client.post(INFER, content=np.zeros((3, 64), "<f4").tobytes(), headers=headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    shapes = [each["shape"] for each in json.loads(answer.content[:length])["outputs"]]
    assert shapes == [[3, 10], [3], [3], [3]]
    assert len(answer.content) == length + 3 * (40 + 8 + 5 + 4)


def test_large_bodies_are_read_beside_the_others(client: TestClient) -> None:
    """More than a few kilobytes packed, in a thread of their own."""
    noise = np.random.default_rng(3).random((60, 1, 8, 8)).round(2)
    text = json.dumps({"inputs": [BLANK | {"shape": [60, 1, 8, 8], "data": noise.tolist()}]})
    body = gzip.compress(text.encode())
    assert 4096 < len(body) < len(text) < 50_000
    answer = client.post(INFER, content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["outputs"][0]["shape"] == [60, 10]
    assert "bytes are JSON" in error_of(
        client.post(INFER, content=body, headers={"Inference-Header-Content-Length": "99999"}), 400
    )


def test_an_answer_is_packed_when_that_is_asked_for(client: TestClient) -> None:
    headers = {"Accept-Encoding": "deflate"}
    answer = client.post(INFER, json={"inputs": [BLANK]}, headers=headers)
    assert answer.headers["Content-Encoding"] == "deflate"
    assert answer.json()["model_name"] == "digits"
    plain = client.post(INFER, json={"inputs": []}, headers=headers)
    assert "Content-Encoding" not in plain.headers, "clients read errors as they are"


def test_what_is_refused_and_how(client: TestClient) -> None:
    said = error_of(infer(client, inputs=[BLANK | {"shape": [1, 8, 8]}]), 400)
    assert said == "inputs[0].shape: expected [N, 1, 8, 8], got [1, 8, 8]"
    error_of(client.post(INFER), 400)
    error_of(client.post(INFER, content=b"\xff"), 400)
    error_of(client.post(INFER, content=b"{}", headers={"Content-Encoding": "br"}), 415)
    error_of(client.post(INFER, content=bytes(50_001)), 413)
    error_of(client.post(INFER, content=iter([bytes(30_000)] * 2)), 413)
    bomb = gzip.compress(bytes(10_000_000))
    error_of(client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"}), 413)
    no_image = BLANK | {"datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}
    said = error_of(infer(client, inputs=[no_image]), 400)
    assert said == "inputs[0].data[0] is neither PNG nor JPEG"
    error_of(client.post("/v2/repository/index", content=b"["), 400)
    assert "ready: expected" in error_of(
        client.post("/v2/repository/index", json={"ready": 1}), 400
    )


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


@pytest.mark.parametrize(
    ("error", "status"), [(TooBusy("full"), 429), (TimedOut("late"), 504), (Gone("erased"), 410)]
)
def test_what_may_be_tried_again_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(client.app.state.inference, "infer", refuse)  # type: ignore[attr-defined]
    answer = infer(client)
    assert error_of(answer, status) == str(error)
    assert ("Retry-After" in answer.headers) is (status == 429)


def test_draws_and_time_reach_the_model(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = client.app.state.inference  # type: ignore[attr-defined]
    plain, seen = inference.infer, []

    async def infer_(served: Any, images: Any, *, samples: int, deadline: float) -> Any:
        seen.append((samples, deadline - asyncio.get_running_loop().time()))
        return await plain(served, images, samples=samples, deadline=deadline)

    monkeypatch.setattr(inference, "infer", infer_)
    assert infer(client, parameters={"samples": 5, "timeout": 20_000_000}).status_code == 200
    assert infer(client).status_code == 200
    (draws, seconds), (none, ever) = seen
    assert (draws, none) == (5, 0)
    assert 10 < seconds <= 20
    assert ever == math.inf


def test_a_fault_of_ours_says_nothing_but_the_request_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise TimeoutError("a secret")

    inference = client.app.state.inference  # type: ignore[attr-defined]
    monkeypatch.setattr(inference, "infer", broken)
    said = error_of(infer(client), 500)
    assert "secret" not in said
    assert "request id" in said


def test_calls_and_predictions_are_counted_without_names(client: TestClient) -> None:
    infer(client, path="/v2/models/digits/versions/1/infer")
    client.get("/v2/models/somebody-by-name")
    client.get("/v2/somebody/by-name")
    text = client.get("/metrics").text
    route = 'route="/v2/models/{model}/versions/{version}/infer",status="200"'
    assert f'lethe_http_requests_total{{method="POST",{route}}}' in text
    assert 'route="/v2/models/{model}",status="404"' in text
    assert 'route="/v2/{call}",status="404"' in text
    assert "somebody" not in text
    assert 'lethe_predictions_total{model="digits"}' in text


def test_who_leaves_before_the_body_has_come_is_forgotten(client: TestClient) -> None:
    sent = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": INFER,
        "headers": [(b"authorization", client.headers["Authorization"].encode())],
    }
    received = iter(
        [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    assert sent == []
    counted = (
        'lethe_http_requests_total{method="POST",route="/v2/models/{model}/infer",status="499"}'
    )
    assert f"{counted} 1.0" in client.get("/metrics").text
