"""POST /predict: right answers, and a 422 that says where and what for wrong questions."""

from __future__ import annotations

import base64
import io
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from core import keys
from core.backend import open_backend
from core.settings import Settings
from service import middleware
from tests.conftest import SECRET
from tests.integration.inference.conftest import digits

BLANK = np.zeros((1, 8, 8)).tolist()


def test_real_digits_are_recognised_and_the_answer_names_its_version(
    served_home: Path, predictor: TestClient
) -> None:
    images, labels = digits(served_home)
    answer = predictor.post("/predict", json={"inputs": (images / 255.0).tolist()})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model"], body["version"]) == ("digits", 1)
    assert answer.headers["X-Model-Version"] == "1"
    found = [int(p["label"]) for p in body["predictions"]]
    assert np.mean(np.array(found) == labels) > 0.9
    first = body["predictions"][0]
    assert first["probability"] == max(first["probabilities"])
    assert sum(first["probabilities"]) == pytest.approx(1.0, abs=1e-5)
    assert 0.0 <= first["uncertainty"] <= np.log(10)


def test_the_same_image_as_list_base64_and_body_gets_the_same_answer(
    served_home: Path, predictor: TestClient
) -> None:
    pixels = digits(served_home)[0][3, 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    png = buffer.getvalue()
    answers = [
        predictor.post("/predict", json={"model": "digits", "inputs": [(pixels / 255.0).tolist()]}),
        predictor.post("/predict", json={"images": [base64.b64encode(png).decode()]}),
        predictor.post("/predict", content=png, headers={"Content-Type": "image/png"}),
    ]
    first, *others = [a.json()["predictions"][0] for a in answers]
    for other in others:
        assert other["label"] == first["label"]
        assert other["probabilities"] == pytest.approx(first["probabilities"], abs=1e-6)


def test_a_large_colour_image_is_brought_to_the_models_size(predictor: TestClient) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 10, 10)).save(buffer, "JPEG")
    answer = predictor.post(
        "/predict", json={"images": [base64.b64encode(buffer.getvalue()).decode()]}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({"inputs": []}, "inputs", "at least one image, got an empty list"),
        ({"inputs": None}, "inputs", "got null"),
        ({}, "body", "either inputs or images"),
        ({"inputs": [BLANK], "images": [""]}, "body", "either inputs or images"),
        ({"inputs": [BLANK], "extra": 1}, "extra", "is not known here"),
        ({"inputs": [BLANK], "model": 3}, "model", "must be a name, got a number"),
        ({"inputs": [BLANK], "version": 2**63}, "version", "must be a version's number"),
        (
            {"inputs": [BLANK, [[0.0]]]},
            "inputs[1]",
            "expected 1 x 8 x 8 (channels, rows, columns), got 1 x 1",
        ),
        ({"inputs": [[[0.0, 1.0], [0.0]]]}, "inputs[0]", "must be a list of 8, got a list of 2"),
        ({"inputs": [[[0.0] * 8] * 7 + [[0.0]]]}, "inputs[0][7]", "of 8, got a list of 1"),
        ({"inputs": [BLANK, [0.0] * 64]}, "inputs", "must all be nested alike"),
        ({"inputs": [[0.0] * 63 + [None]]}, "inputs[0][63]", "must be a number, got null"),
        ({"inputs": [3]}, "inputs[0]", "got a number"),
        ({"inputs": [[["a"] * 8] * 8]}, "inputs[0][0][0]", "must be a number, got text"),
        ({"inputs": [[[True] * 8] * 8]}, "inputs[0][0][0]", "must be a number, got a truth value"),
        ({"inputs": [[[2.0] * 8] * 8]}, "inputs[0]", "must lie in 0..1, got 2..2"),
        ({"inputs": [[[-1] * 8] * 8]}, "inputs[0]", "must lie in 0..1, got -1..-1"),
        ({"images": ["???"]}, "images[0]", "is not base64"),
        ({"images": [7]}, "images[0]", "must be base64 text, got a number"),
        ({"images": ["AAAA"]}, "images[0]", "is neither PNG nor JPEG"),
        ({"images": ["AAAA"] * 1025}, "images", "at most 1024"),
        ([1, 2], "body", "must be an object"),
    ],
)
def test_a_wrong_question_is_told_where_and_what(
    predictor: TestClient, body: Any, where: str, what: str
) -> None:
    answer = predictor.post("/predict", json=body)
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert problem["errors"][0]["where"] == where
    assert what in problem["errors"][0]["message"]


@pytest.mark.parametrize("model", [{}, {"model": "digits"}])
def test_a_long_text_among_numbers_takes_no_room(
    predictor: TestClient, model: dict[str, str]
) -> None:
    body = json.dumps({"inputs": [[0.5] * 500 + ["a" * 200_000]], **model}).encode()
    tracemalloc.start()
    try:
        answer = predictor.post("/predict", content=body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "inputs[0][500]"
    assert peak < 20_000_000  # NumPy would have given each number 800,000 bytes


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "the body is empty"),
        (b"{", "is not JSON"),
        (b'{"inputs": [[NaN]]}', "NaN is not a number in JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"inputs": [[' + b"[]," * 500_000 + b"[]]]}", "holds 500004 lists and objects"),
        (b'{"inputs": [[' + b"{}," * 500_000 + b"{}]]}", "holds 500004 lists and objects"),
    ],
)
def test_a_body_that_is_no_json(predictor: TestClient, body: bytes, what: str) -> None:
    answer = predictor.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert what in answer.json()["detail"]


def test_a_truncated_and_a_huge_image_are_refused(predictor: TestClient) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    cut = buffer.getvalue()[:200]
    answer = predictor.post("/predict", content=cut, headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    assert "cannot be decoded" in answer.json()["detail"]
    huge = io.BytesIO()
    Image.new("1", (9000, 9000)).save(huge, "PNG")
    answer = predictor.post(
        "/predict", content=huge.getvalue(), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 422
    assert "too large" in answer.json()["detail"]


def test_unknown_model_no_key_and_wrong_scope(served_home: Path, predictor: TestClient) -> None:
    assert predictor.post("/predict", json={"model": "x", "inputs": [BLANK]}).status_code == 404
    refused = predictor.post("/predict", json={"inputs": [BLANK]}, headers={"Authorization": ""})
    assert refused.status_code == 401
    backend = open_backend(Settings(home=served_home, secret=SECRET))
    with backend.db.transaction() as tx:
        _, text = keys.create(tx, "reader", ["read"])
    backend.close()
    refused = predictor.post(
        "/predict", json={"inputs": [BLANK]}, headers={"Authorization": f"Bearer {text}"}
    )
    assert refused.status_code == 403
    assert "predict" in refused.json()["detail"]


def test_readiness_tells_what_is_served(predictor: TestClient) -> None:
    answer = predictor.get("/readyz")
    assert answer.status_code == 200
    assert json.loads(answer.text)


def test_an_answer_is_counted_and_only_what_went_wrong_or_took_long_is_told(
    predictor: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> list[tuple[str, int]]:
        found = [each for each in caplog.records if each.name == "service.middleware"]
        caplog.clear()
        return [(vars(each)["route"], vars(each)["status"]) for each in found]

    counted = 'lethe_http_requests_total{method="POST",route="/predict",status="200"}'
    with caplog.at_level(logging.INFO, "service.middleware"):
        assert predictor.post("/predict", json={"inputs": [BLANK]}).status_code == 200
        assert told() == []
        assert predictor.post("/predict", json={"inputs": []}).status_code == 422
        assert told() == [("/predict", 422)]
        monkeypatch.setattr(middleware, "LONG_SECONDS", 0.0)
        assert predictor.post("/predict", json={"inputs": [BLANK]}).status_code == 200
        assert told() == [("/predict", 200)]
        assert counted in predictor.get("/metrics").text
        assert told() == [("/metrics", 200)]
