"""Limits over HTTP: 429 as a problem that says when to come again; caps on what is parsed."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.settings import Settings
from service.app import create_app
from tests.factories import other

POST = {"model": "digits", "subject_id": "subject-1"}


def started(settings: Settings, **values: Any) -> TestClient:
    client = TestClient(create_app(other(settings, **values), "api"), raise_server_exceptions=False)
    client.__enter__()
    key = (settings.home / "api-key").read_text().strip()
    client.headers["Authorization"] = f"Bearer {key}"
    return client


def refused(answer: Any, detail: str) -> None:
    assert answer.status_code == 429, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["code"] == "too_many_requests"
    assert detail in answer.json()["detail"]


def test_each_limit_is_answered_429(api_settings: Settings) -> None:
    rates = {
        "address_rate": "40/hour",
        "key_rate": "20/hour",
        "erasure_rate": "6/hour",
        "subject_quota": "2/hour",
        "failed_key_rate": "3/hour",
    }
    client = started(api_settings, **rates)
    try:
        for _ in range(2):
            assert client.post("/erasure-requests", json=POST).status_code == 202
        refused(client.post("/erasure-requests", json=POST), "for this subject")
        items = [{"model": "digits", "subject_id": "subject-2"}] * 3
        refused(client.post("/erasure-requests/bulk", json={"items": items}), "for this subject")
        elsewhere = {"model": "digits", "sample_ids": ["train/00010"]}
        for _ in range(2):
            assert client.post("/erasure-requests", json=elsewhere).status_code == 202
        refused(client.post("/erasure-requests", json=elsewhere), "asks for erasures more often")
        bad = [client.get("/jobs", headers={"Authorization": f"Bearer x.{n}"}) for n in range(4)]
        assert [answer.status_code for answer in bad] == [401, 401, 401, 429]
        refused(bad[3], "refused that came from this address")
        assert client.get("/jobs").status_code == 200, "a key that is known is let in"
        while (answer := client.get("/jobs")).status_code == 200:
            pass
        refused(answer, "this key calls more often than 20 per 1 hour")
        for _ in range(40):
            answer = client.get("/certificates/key")
        refused(answer, "this address calls more often than 40 per 1 hour")
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    finally:
        client.__exit__(None, None, None)


def test_a_key_that_was_refused_is_logged_without_its_secret(
    api_quiet: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    real = api_quiet.get("/keys").json()["items"][0]["id"]
    with caplog.at_level(logging.WARNING):
        for text in (f"{real}.made-up-secret", "key_none.made-up-secret"):
            api_quiet.get("/jobs", headers={"Authorization": f"Bearer {text}"})
    lines = [line for line in caplog.records if line.getMessage() == "an API key was refused"]
    assert [vars(line)["key"] for line in lines] == [real, None]
    assert all(vars(line)["address"] == "testclient" for line in lines)
    assert "made-up-secret" not in str([vars(line) for line in caplog.records])


def nested(depth: int) -> bytes:
    return json.dumps({"model": "digits", "more": "[" * 50}).encode()[:-1] + (
        b', "sample_ids": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (nested(32), 422),
        (nested(33), 400),
        (nested(50_000), 400),
        (b'{"a": ' * 33 + b"1" + b"}" * 33, 400),
        (b"[" * 40_000, 400),
        (b'["' + b'[\\"' * 20_000, 422),
        (b'{"model": "' + b"[" * 100 + b'\\"]"}', 422),
        (b"[" + b"[]," * 100 + b"[]]", 422),
    ],
)
def test_deep_json_is_refused_before_it_is_parsed(
    api_quiet: TestClient, body: bytes, status: int
) -> None:
    json_type = {"Content-Type": "application/json"}
    answer = api_quiet.post("/erasure-requests", content=body, headers=json_type)
    assert answer.status_code == status, answer.text
    assert ("more than 32 levels" in answer.json()["detail"]) is (status == 400)


def test_what_comes_in_pieces_is_measured_as_one(api_quiet: TestClient) -> None:
    pieces = [nested(40)[i : i + 7] for i in range(0, len(nested(40)), 7)]
    json_type = {"Content-Type": "application/json"}
    answer = api_quiet.post("/erasure-requests", content=iter(pieces), headers=json_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
