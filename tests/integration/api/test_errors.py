"""Errors, request ids and bodies that are too large."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.contextvars import get_contextvars

from core import errors, jobs
from core.checkpoints import CheckpointCorrupt
from core.settings import Settings
from service.app import create_app
from service.errors import TABLE, is_opendsr, kind_of

FIELDS = {"type", "title", "status", "detail", "code", "request_id"}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(jobs, "listed", fail)


def test_every_error_of_core_has_a_row_and_every_code_one_meaning() -> None:
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.LetheError):
            assert cls in TABLE
    assert kind_of(CheckpointCorrupt("x")).code == "failed"
    meanings: dict[str, set[int]] = {}
    for kind in TABLE.values():
        meanings.setdefault(kind.code, set()).add(kind.status)
    assert all(len(statuses) == 1 for statuses in meanings.values())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotFound("x"), 404, "not_found"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.Invalid("x"), 422, "invalid"),
        (errors.Unavailable("x"), 503, "unavailable"),
        (errors.LeaseLost("x"), 409, "lease_lost"),
        (CheckpointCorrupt("x"), 500, "failed"),
    ],
)
def test_errors_of_core_are_answered_by_the_table(
    api_quiet: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    failing(monkeypatch, error)
    answer = api_quiet.get("/jobs")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"] == "x"
    assert ("Retry-After" in answer.headers) is (status == 503)


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT 'secret'", {}, Exception("gone")), PoolTimeoutError()]
)
def test_a_database_that_does_not_answer_is_503(
    api_quiet: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error)
    answer = api_quiet.get("/jobs")
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text


def test_an_unexpected_error_says_nothing_and_is_logged(
    api_quiet: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(monkeypatch, RuntimeError("the inner secret"))
    answer = api_quiet.get("/jobs", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == FIELDS
    assert (body["code"], body["request_id"]) == ("internal", "abc-1")
    assert answer.headers["X-Request-ID"] == "abc-1"
    assert "secret" not in answer.text
    [record] = [each for each in caplog.records if each.name == "service.errors"]
    assert record.exc_info is not None


def test_an_error_in_the_middle_of_an_answer_breaks_it_off(api_settings: Settings) -> None:
    from fastapi.responses import StreamingResponse

    def pieces() -> Iterator[bytes]:
        yield b"begun"
        raise RuntimeError("too late")

    app = create_app(api_settings, "api")
    app.add_api_route("/half", lambda: StreamingResponse(pieces()))
    with TestClient(app) as client, pytest.raises(RuntimeError, match="too late"):
        client.get("/half")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/jobs", 405, "method_not_allowed"),
        ("GET", "/jobs/../../etc/passwd", 404, "not_found"),
    ],
)
def test_what_the_framework_refuses_is_a_problem_too(
    api_quiet: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = api_quiet.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == FIELDS
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:lethe:problem:{code}"


def test_many_findings_are_listed_and_a_few_said(api_quiet: TestClient) -> None:
    answer = api_quiet.post(
        "/erasure-requests", json={"model": "digits", "sample_ids": [1, 2, 3, 4, 5]}
    ).json()
    assert len(answer["errors"]) == 5
    assert answer["detail"].endswith("(and 2 more)")


def test_a_deeply_nested_body_is_refused(api_quiet: TestClient) -> None:
    answer = api_quiet.post(
        "/erasure-requests",
        content=b"[" * 100_000,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize("given", ["abc", "A.b_c:d/e+f=g-1", "0" * 128])
def test_a_sane_request_id_is_kept(
    api_quiet: TestClient, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def noted(record: logging.LogRecord) -> bool:
        if record.name == "service.middleware":  # other threads log as well
            seen.append(get_contextvars().get("request_id"))
        return True

    caplog.handler.addFilter(noted)
    with caplog.at_level(logging.INFO, "service.middleware"):
        answer = api_quiet.get("/models", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert seen == [given]
    assert get_contextvars() == {}


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/jobs/job_1?wait=0&model=jane", "/jobs/{job_id}", 404),
        ("/models/jane", "/models/{name}", 404),
        ("/jane/doe?a=b", "(none)", 404),
    ],
)
def test_the_line_of_a_call_names_its_route_and_nobody(
    api_quiet: TestClient, caplog: pytest.LogCaptureFixture, path: str, route: str, status: int
) -> None:
    with caplog.at_level(logging.INFO):
        api_quiet.get(path)
    [line] = [vars(each) for each in caplog.records if each.name == "service.middleware"]
    assert (line["method"], line["route"], line["status"]) == ("GET", route, status)
    assert "jane" not in str(line)


def test_a_probe_that_is_answered_is_not_told(
    api_quiet: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.middleware"):
        assert api_quiet.get("/livez").status_code == 200
    assert [each for each in caplog.records if each.name == "service.middleware"] == []


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "-a", "0" * 129, "<script>", "é"])
def test_another_is_replaced(api_quiet: TestClient, given: str) -> None:
    answer = api_quiet.get("/nowhere", headers={"X-Request-ID": given.encode()})
    made = answer.headers["X-Request-ID"]
    assert made.startswith("req_")
    assert answer.json()["request_id"] == made


def test_a_large_body_is_refused(api: TestClient, api_server: str, api_app: FastAPI) -> None:
    limit = api_app.state.settings.max_body_bytes
    key = {"Authorization": api.headers["Authorization"], "Content-Type": "application/json"}
    answer = api.post("/erasure-requests", content=b" " * (limit + 1), headers=key)
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert str(limit) in answer.json()["detail"]
    assert api.post("/erasure-requests", content=b" " * limit, headers=key).status_code == 422

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    # What is still sent is read and dropped, so that the client gets to see why.
    answer = httpx.post(f"{api_server}/erasure-requests", content=chunks(), headers=key)
    assert answer.status_code == 413


def test_chunks_are_counted(api_quiet: TestClient, api_app: FastAPI) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 10_000

    answer = api_quiet.post(
        "/erasure-requests", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_a_length_that_is_no_number_is_left_to_the_server(api_quiet: TestClient) -> None:
    assert api_quiet.get("/livez", headers={"Content-Length": "many"}).status_code == 200


def test_every_error_is_documented_as_a_problem(api_settings: Settings) -> None:
    document = create_app(api_settings, "api").openapi()
    assert document is not None
    for path, operations in document["paths"].items():
        if is_opendsr(path) or path.startswith("/status/"):  # their own; pages for people
            continue
        for operation in operations.values():
            statuses = {status for status in operation["responses"] if status >= "4"}
            if operation.get("security"):
                assert {"401", "403", "422", "503"} <= statuses, path
            for status in statuses:
                content = operation["responses"][status]["content"]
                if path != "/readyz":
                    assert list(content) == ["application/problem+json"], (path, status)
    assert "HTTPValidationError" not in json.dumps(document["paths"])


def test_the_document_and_its_page_are_there(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    example = document["components"]["schemas"]["NewErasureRequest"]["examples"][0]
    assert api.post("/erasure-requests", json=example | {"model": "digits"}).status_code == 202
    assert api.get("/docs").status_code == 200


def test_nothing_names_the_subject_in_the_log(
    api: TestClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG):
        api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-11"})
        api.post("/erasure-requests", json={"model": "nope", "subject_id": "subject-11"})
        api.post("/erasure-requests", json={"model": 1, "subject_id": "subject-11"})
    assert "subject-11" not in caplog.text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"subject-11" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "path", ["/requests/a%0Ab", "/v1/opengdpr_requests/%0A", "/v2/requests/%0A"]
)
def test_an_unusual_name_is_refused_in_the_form_of_its_protocol(
    api_quiet: TestClient, path: str
) -> None:
    answer = api_quiet.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert "error" in answer.json()
