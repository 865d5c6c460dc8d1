"""The short way of the busiest routes answers as the framework does, or leaves the call to it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service.api.busy import Busy

JSON = {"Content-Type": "application/json"}
LONG_JSON = {"Content-Type": "application/json; charset=utf-8"}
"""With a parameter, the media type is not plain: the framework reads the body."""

GOOD = b'{"model": "digits", "subject_id": "subject-1"}'
OWN = ("id", "job_id", "job_ids", "received_at", "due_at", "request_id", "commitment")
"""What two answers to the same call differ in."""


@pytest.fixture
def alone(api: TestClient, api_app: FastAPI) -> TestClient:
    """The layer with nothing behind it but a 599."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 599, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    layer = Busy(nothing)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope |= {"app": api_app, "state": {"request_id": "call-1"}}
        await layer(scope, receive, send)

    return TestClient(app, headers=api.headers)


def _same(answer: httpx.Response) -> tuple[int, Any, list[str]]:
    body = answer.json()
    for name in OWN:
        body.pop(name, None)
    return answer.status_code, body, sorted(answer.headers)


def test_good_calls_never_reach_the_framework(alone: TestClient) -> None:
    posted = alone.post("/erasure-requests", content=GOOD, headers=JSON)
    assert posted.status_code == 202
    read = alone.get(posted.headers["Location"])
    assert (read.status_code, read.json()["id"]) == (200, posted.json()["id"])


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/erasure-requests", GOOD, LONG_JSON),
        ("POST", "/erasure-requests", GOOD, {}),
        ("POST", "/erasure-requests", b"{", JSON),
        ("POST", "/erasure-requests", b'{"model": 7}', JSON),
        ("POST", "/erasure-requests", GOOD, {**JSON, "Idempotency-Key": "k" * 256}),
        ("POST", "/erasure-requests/bulk", GOOD, JSON),
        ("PUT", "/erasure-requests", GOOD, JSON),
        ("GET", "/erasure-requests", b"", {}),
        ("GET", "/erasure-requests/er_" + "0" * 25, b"", {}),
        ("GET", "/erasure-requests/er_" + "0" * 26 + "?a=b", b"", {}),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_framework(
    alone: TestClient, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    assert alone.request(method, path, content=body, headers=headers).status_code == 599


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        b'{"model": "digits", "sample_ids": ["train/00004"], "external_id": "t"}',
        b'{"model": "digits", "sample_ids": ["nobody/1"]}',
        b'{"model": "nobody", "subject_id": "subject-1"}',
        b'{"model": "digits"}',
        b'{"model": "digits", "subject_id": ""}',
        b'{"model": "digits", "subject_id": "a", "more": 1}',
        b'{"model": "digits", "subject_id": 7}',
        b'{"model": "digits", "subject_id": "\\ud800"}',
        b'{"model": "digits", "subject_id": "\\u0000"}',
        b'{"model": "digits", "subject_id": NaN}',
        b'{"model": "digits", "callback_url": "ftp://a", "subject_id": "a"}',
        b'{"model": "digits", "model": "nobody", "subject_id": "a"}',
        b"\xff",
        b"",
        b"null",
        b"[" * 100,
    ],
)
def test_a_post_is_answered_alike_on_both_ways(api: TestClient, body: bytes) -> None:
    short = api.post("/erasure-requests", content=body, headers=JSON)
    long = api.post("/erasure-requests", content=body, headers=LONG_JSON)
    assert _same(short) == _same(long)


def test_a_repeat_is_answered_alike_on_both_ways(api: TestClient) -> None:
    keyed = {"Idempotency-Key": "once"}
    first = api.post("/erasure-requests", content=GOOD, headers=JSON | keyed)
    for headers in (JSON, LONG_JSON):
        again = api.post("/erasure-requests", content=GOOD, headers=headers | keyed)
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        other = api.post("/erasure-requests", content=GOOD + b" ", headers=headers | keyed)
        assert other.content == first.content, "spaces are not part of what was asked"
        clash = GOOD.replace(b"subject-1", b"subject-2")
        assert api.post("/erasure-requests", content=clash, headers=headers | keyed).is_error


def test_a_read_is_answered_alike_on_both_ways(api: TestClient) -> None:
    place = api.post("/erasure-requests", content=GOOD, headers=JSON).headers["Location"]
    unknown = "/erasure-requests/er_" + "0" * 26
    for path in (place, unknown):
        short, long = api.get(path), api.get(f"{path}?a=b")
        assert _same(short) == _same(long)
    assert api.get(place).content == api.get(f"{place}?a=b").content


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer nobody"}])
def test_a_bad_key_is_refused_alike_on_both_ways(api: TestClient, headers: dict[str, str]) -> None:
    path = "/erasure-requests/er_" + "0" * 26
    assert _same(api.get(path, headers=headers)) == _same(api.get(f"{path}?a=b", headers=headers))
    short = api.post("/erasure-requests", content=GOOD, headers=headers | JSON)
    long = api.post("/erasure-requests", content=GOOD, headers=headers | LONG_JSON)
    assert short.status_code == 401
    assert _same(short) == _same(long)


def test_a_scope_that_is_missing_is_named_alike_on_both_ways(api: TestClient, api_key: Any) -> None:
    headers = api_key("predict")
    short = api.post("/erasure-requests", content=GOOD, headers=headers | JSON)
    long = api.post("/erasure-requests", content=GOOD, headers=headers | LONG_JSON)
    assert short.status_code == 403
    assert _same(short) == _same(long)


def test_metrics_name_the_route(api: TestClient) -> None:
    place = api.post("/erasure-requests", content=GOOD, headers=JSON).headers["Location"]
    api.get(place)
    metrics = api.get("/metrics").text
    for method, route, status in (
        ("POST", "/erasure-requests", 202),
        ("GET", "/erasure-requests/{request_id}", 200),
    ):
        labels = f'method="{method}",route="{route}",status="{status}"'
        assert f"lethe_http_requests_total{{{labels}}} 1.0" in metrics
