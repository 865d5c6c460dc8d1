"""The Open Inference Protocol as bytes on the wire: answers, forms, errors."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core.errors import Gone, TimedOut, TooBusy
from tests.integration.inference.wire import BLANK, INFER, error_of, infer


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
