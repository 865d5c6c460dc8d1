"""The client against faults that no service of ours makes at will: a network that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import lethe
from core.errors import LetheError, Unavailable
from lethe import ApiError, Client
from lethe.transport import Transport

Handler = Callable[[httpx.Request], httpx.Response]

REQUEST = {
    "id": "er_1",
    "status": "scheduled",
    "job_id": "job_1",
    "job_ids": ["job_1"],
    "received_at": "2026-01-01T00:00:00Z",
    "a_newer_field": 7,
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


class Network:
    """Answers from a list, one after the other; an exception in it is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def client(network: Handler, **options: Any) -> Client:
    return Client("http://lethe.test", "key", transport=httpx.MockTransport(network), **options)


def problem(status: int, **body: Any) -> httpx.Response:
    return httpx.Response(status, json={"title": "Problem", "status": status, **body})


def test_a_retried_request_keeps_its_idempotency_key() -> None:
    network = Network(
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503),
        httpx.Response(429, headers={"Retry-After": "1"}),
        httpx.Response(202, json=REQUEST),
    )
    request = client(network).erase("digits", subject_id="subject-7")
    assert request.job_ids == ["job_1"]
    assert request.plain()["a_newer_field"] == 7
    assert len({r.headers["Idempotency-Key"] for r in network.requests}) == 1
    assert {r.headers["Authorization"] for r in network.requests} == {"Bearer key"}
    assert json.loads(network.requests[0].content) == {
        "model": "digits",
        "subject_id": "subject-7",
    }


def test_an_idempotency_key_may_be_given() -> None:
    network = Network(httpx.Response(202, json=REQUEST))
    client(network).erase("digits", sample_ids=["train/00001"], idempotency_key="mine")
    assert network.requests[0].headers["Idempotency-Key"] == "mine"


def test_a_call_that_must_not_be_doubled_is_not() -> None:
    network = Network(httpx.ReadError("reset"))
    with pytest.raises(Unavailable, match="did not answer: reset"):
        client(network).cancel("er_1", "no longer wanted")
    network = Network(httpx.ConnectError("refused"), httpx.Response(200, json=REQUEST))
    client(network).cancel("er_1", "no longer wanted")  # it never arrived, so it may


def test_nobody_answers() -> None:
    network = Network(*[httpx.ConnectError("refused")] * 3)
    with pytest.raises(Unavailable, match=r"no service answers at http://lethe.test .*lethe serve"):
        client(network, retries=2).models()


def test_retries_end() -> None:
    network = Network(*[problem(503, detail="the database does not answer")] * 3)
    with pytest.raises(ApiError, match="the database does not answer") as caught:
        client(network, retries=2).models()
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("header", "pause"),
    [("0", 0.0), ("3", 3.0), ("600", 30.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.2), (None, 0.2)],
)
def test_pauses_follow_retry_after(header: str | None, pause: float) -> None:
    pauses: list[float] = []
    headers = {"Retry-After": header} if header else {}
    transport = Transport(
        "http://lethe.test",
        None,
        timeout=1,
        retries=1,
        transport=httpx.MockTransport(
            Network(httpx.Response(429, headers=headers), httpx.Response(200))
        ),
        sleep=pauses.append,
    )
    transport.call("GET", "/livez")
    transport.close()
    assert pauses == [pause]


def test_errors_carry_what_the_service_said() -> None:
    network = Network(problem(404, detail="there is no model 'x'", code="not_found"))
    with pytest.raises(ApiError, match=r"there is no model 'x' \(HTTP 404\)") as caught:
        client(network).model("x")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    with pytest.raises(ApiError, match="Bad Gateway"):
        client(Network(httpx.Response(502, text="<html>")), retries=0).models()
    with pytest.raises(ApiError, match="LETHE_API_KEY"):
        client(Network(problem(401, detail="not known"))).models()


@pytest.mark.parametrize("url", ["ftp://lethe.test", "lethe.test", "http://[::1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(LetheError, match="LETHE_URL"):
        Client(url, "key").models()


def job(status: str, fraction: float, etag: str) -> httpx.Response:
    body = {"id": "job_1", "status": status, "progress": {"fraction": fraction}}
    return httpx.Response(200, json=body, headers={"ETag": etag})


def test_waiting_asks_for_changes_only() -> None:
    done = {**REQUEST, "status": "completed", "outcome": "erased"}
    network = Network(
        httpx.Response(200, json=REQUEST),
        job("queued", 0.0, '"1"'),
        httpx.Response(304),
        job("running", 0.5, '"2"'),
        job("succeeded", 1.0, '"3"'),
        httpx.Response(200, json=REQUEST),
        httpx.Response(200, json=done),
    )
    seen: list[str] = []
    with client(network) as lethe_client:
        request = lethe_client.wait("er_1", on_progress=lambda job: seen.append(job.status))
    assert seen == ["queued", "running", "succeeded"]
    assert request.outcome == "erased"
    asked = [r for r in network.requests if r.url.path == "/jobs/job_1"]
    assert [r.headers.get("If-None-Match") for r in asked] == [None, '"1"', '"1"', '"2"']
    assert "wait" in asked[1].url.params


def test_waiting_ends() -> None:
    with pytest.raises(LetheError, match="job job_1 is not over yet"):
        client(Network(httpx.Response(200, json=REQUEST))).wait("er_1", timeout=0)
    network = Network(
        httpx.Response(200, json={**REQUEST, "job_ids": []}), httpx.Response(200, json=REQUEST)
    )
    with pytest.raises(LetheError, match="request er_1 is not over yet"):
        client(network).wait("er_1", timeout=0)


def test_lists_follow_their_cursor() -> None:
    network = Network(
        httpx.Response(200, json={"items": [REQUEST], "next": "er_1"}),
        httpx.Response(200, json={"items": [{**REQUEST, "id": "er_0"}], "next": None}),
    )
    found = list(client(network).erasure_requests(status="scheduled"))
    assert [request.id for request in found] == ["er_1", "er_0"]
    assert dict(network.requests[1].url.params) == {"status": "scheduled", "cursor": "er_1"}


def test_readiness() -> None:
    assert client(Network(httpx.Response(200, json={}))).ready()
    assert not client(Network(problem(503)), retries=0).ready()


def test_the_key_comes_from_the_environment_or_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from lethe.home import api_key

    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.delenv("LETHE_API_KEY", raising=False)
    assert api_key() is None
    (tmp_path / "api-key").write_text("kept\n")
    assert api_key() == "kept"
    monkeypatch.setenv("LETHE_API_KEY", "given")
    assert api_key() == "given"
    monkeypatch.delenv("LETHE_API_KEY")
    (tmp_path / "api-key").unlink()
    (tmp_path / "api-key").mkdir()
    with pytest.raises(LetheError, match="cannot be read"):
        api_key()


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        lethe.Klient  # noqa: B018
