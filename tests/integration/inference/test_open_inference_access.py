"""The Open Inference Protocol on the wire: which calls there are, and whom they answer."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from core import keys, registry
from core.backend import open_backend
from core.records import Dataset
from core.settings import Settings
from service.app import create_app
from service.inference.open_inference_calls import CALLS, OPEN
from tests.integration.inference.wire import BLANK, INFER, error_of

FILLED = {"{model}": "digits", "{version}": "1", "{region}": "a"}
EVERY = [
    (method, template, re.sub(r"{\w+}", lambda found: FILLED[found[0]], template))
    for template, methods in CALLS.items()
    for method in methods
]


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
