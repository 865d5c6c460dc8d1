"""POST /predict in its other forms: raw numbers, files, a form; draws of z; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core.errors import TooBusy
from service.inference import inputs
from service.inference.batcher import Batcher
from service.schemas import Predictions
from tests.integration.inference.conftest import digits, png

RAW = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BLANK = np.zeros((1, 8, 8)).tolist()


def test_all_forms_of_one_image_get_one_answer(served_home: Path, predictor: TestClient) -> None:
    pixels = digits(served_home)[0][5, 0]
    floats = (pixels / 255.0).astype("<f4")
    form = {"images": ("seven.png", png(pixels), "image/png")}
    answers = [
        predictor.post("/predict", json={"inputs": [floats[None].tolist()]}),
        predictor.post("/predict", json={"inputs": [floats.tolist()]}),
        predictor.post("/predict", json={"inputs": [floats.ravel().tolist()], "samples": 0}),
        predictor.post("/predict", content=floats.tobytes(), headers=RAW),
        predictor.post("/predict?dtype=uint8&model=digits", content=pixels.tobytes(), headers=RAW),
        predictor.post("/predict", files=form),
        predictor.post("/predict", files=[("a", ("a", png(pixels)))], data={"model": "digits"}),
        predictor.post("/predict", content=json.dumps({"inputs": [floats.tolist()]})),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["probabilities"] == pytest.approx(
            answers[0].json()["predictions"][0]["probabilities"], abs=1e-6
        )
        assert Predictions.model_validate_json(answer.content)


def test_several_images_come_back_in_order(served_home: Path, predictor: TestClient) -> None:
    images = digits(served_home)[0][:70]
    floats = (images / 255.0).astype("<f4")
    whole = predictor.post("/predict", json={"inputs": floats.tolist()}).json()["predictions"]
    again = predictor.post("/predict", content=floats.tobytes(), headers=RAW).json()["predictions"]
    files = [("images", (f"{n}.png", png(image[0]))) for n, image in enumerate(images)]
    form = predictor.post("/predict", files=files).json()["predictions"]
    assert [p["label"] for p in whole] == [p["label"] for p in again] == [p["label"] for p in form]
    assert len({p["label"] for p in whole}) > 5


def test_uncertainty_is_the_entropy_of_the_answer_or_of_draws(
    served_home: Path, predictor: TestClient
) -> None:
    body = {"inputs": (digits(served_home)[0][:20] / 255.0).tolist()}
    plain = predictor.post("/predict", json=body).json()["predictions"]
    for prediction in plain:
        p = np.array(prediction["probabilities"])
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum()
        assert prediction["uncertainty"] == pytest.approx(entropy, abs=1e-5)
        assert "mutual_information" not in prediction
    drawn = predictor.post("/predict", json={**body, "samples": 32}).json()["predictions"]
    same = predictor.post("/predict?samples=32", json=body).json()["predictions"]
    assert drawn == same, "the draws are the same for every call"
    assert all(0 <= p["mutual_information"] <= p["uncertainty"] for p in drawn)
    assert any(p["mutual_information"] > 0 for p in drawn)
    assert [p["probabilities"] for p in drawn] == [p["probabilities"] for p in plain]


@pytest.mark.parametrize(
    ("query", "headers", "body", "where", "what"),
    [
        ("?versoin=1", {}, b"{}", "versoin", "is not known here"),
        ("?version=0", {}, b"{}", "version", "must be a version's number"),
        ("?version=x", {}, b"{}", "version", "got 'x'"),
        ("?samples=65", {}, b"{}", "samples", "from 0 to 64, got '65'"),
        ("", {}, b'{"samples": -1, "inputs": [0]}', "samples", "got -1"),
        ("", {}, b'{"samples": true, "inputs": [0]}', "samples", "got a truth value"),
        ("", {}, b'{"version": 1.5, "inputs": [0]}', "version", "got a number"),
        ("", {"X-Request-Timeout": "soon"}, b"{}", "X-Request-Timeout", "seconds above 0"),
        ("", {"X-Request-Timeout": "-1"}, b"{}", "X-Request-Timeout", "seconds above 0"),
        ("?dtype=int4", RAW, b"\0" * 64, "dtype", "must be float32 or uint8"),
        ("", RAW, b"\0" * 100, "body", "are 256 bytes, got 100 bytes"),
        ("", RAW, np.full(64, np.nan, "<f4").tobytes(), "body[0]", "must lie in 0..1, got nan"),
        ("", RAW, np.full(64, 1.5, "<f4").tobytes(), "body[0]", "got 1.5..1.5"),
        ("?dtype=uint8", RAW, b"\0" * 64 * 1025, "body", "holds 1025 images"),
        ("", FORM, b"--y\r\nnothing", "body", "is not multipart/form-data"),
        ("", {"Content-Type": "multipart/form-data"}, b"x", "body", "is not multipart/form-data"),
        (
            "",
            FORM,
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ndigits\r\n--x--\r\n',
            "body",
            "at least one file",
        ),
    ],
)
def test_a_wrong_parameter_or_raw_body_is_told(
    predictor: TestClient, query: str, headers: dict[str, str], body: bytes, where: str, what: str
) -> None:
    answer = predictor.post(f"/predict{query}", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    (finding,) = answer.json()["errors"]
    assert finding["where"] == where
    assert what in finding["message"]


def test_minus_zero_is_zero(predictor: TestClient) -> None:
    answers = [
        predictor.post("/predict", json={"inputs": [[[zero] * 8] * 8]}).json()
        for zero in (0.0, -0.0)
    ]
    assert answers[0] == answers[1]


def test_images_that_are_too_large_only_together_are_refused_before_any_is_decoded(
    predictor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_PIXELS", 200)
    monkeypatch.setattr(inputs, "_decoded", None)  # nobody may come this far
    files = [("images", (str(n), png(np.zeros((10, 10), np.uint8)))) for n in range(3)]
    answer = predictor.post("/predict", files=files)
    assert answer.status_code == 422
    assert "images[2] is 10 x 10: too large together" in answer.json()["detail"]


def test_too_much_at_once_and_too_late_say_so(
    predictor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise TooBusy("2048 images wait")

    answer = predictor.post(
        "/predict", json={"inputs": [BLANK]}, headers={"X-Request-Timeout": "0.0000001"}
    )
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
    monkeypatch.setattr(Batcher, "answer", refused)
    answer = predictor.post("/predict", json={"inputs": [BLANK]})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_busy")
    assert int(answer.headers["Retry-After"]) > 0


def test_other_methods_and_the_request_id(predictor: TestClient) -> None:
    answer = predictor.get("/predict")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    answer = predictor.post("/predict", json={"inputs": [BLANK]}, headers={"X-Request-ID": "mine"})
    assert answer.headers["X-Request-ID"] == "mine"
    answer = predictor.post("/predict", content=b"x" * (33 * 1024 * 1024))
    assert answer.status_code == 413


def test_a_call_is_counted_once(predictor: TestClient) -> None:
    def counted() -> dict[str, float]:
        lines = predictor.get("/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    before = counted()
    predictor.post("/predict", json={"inputs": [BLANK, BLANK]})
    after = counted()
    assert grown('lethe_predictions_total{model="digits"}') == 2
    assert grown('lethe_prediction_seconds_count{model="digits"}') == 1
    call = 'lethe_http_requests_total{method="POST",route="/predict",status="200"}'
    assert grown(call) == 1
