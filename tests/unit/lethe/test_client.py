"""The client against faults that no service of ours makes at will: a network that misbehaves."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

import lethe
from core.errors import LetheError, Unavailable
from lethe import ApiError, AsyncClient, Client, calls

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
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody pauses; how long each pause would have been."""
    kept: list[float] = []

    async def sleep(seconds: float) -> None:
        kept.append(seconds)

    monkeypatch.setattr("time.sleep", kept.append)
    monkeypatch.setattr("asyncio.sleep", sleep)
    return kept


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


class Blocking:
    """An `AsyncClient` that is waited for at each call: what holds for one holds for both."""

    def __init__(self, *where: Any, **how: Any) -> None:
        self._client = AsyncClient(*where, **how)

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self._client.close())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        async def done(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            if isinstance(found, AsyncIterator):
                return [item async for item in found]
            return await found

        return lambda *arguments, **options: asyncio.run(done(*arguments, **options))


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of a network."""

    def make(network: Handler, **options: Any) -> Any:
        transport = httpx.MockTransport(network)
        return request.param("http://lethe.test", "key", transport=transport, **options)

    return make


def problem(status: int, **body: Any) -> httpx.Response:
    return httpx.Response(status, json={"title": "Problem", "status": status, **body})


def test_a_retried_request_keeps_its_idempotency_key(client: Any) -> None:
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


def test_an_idempotency_key_may_be_given(client: Any) -> None:
    network = Network(httpx.Response(202, json=REQUEST))
    client(network).erase("digits", sample_ids=["train/00001"], idempotency_key="mine")
    assert network.requests[0].headers["Idempotency-Key"] == "mine"


def test_a_call_that_must_not_be_doubled_is_not(client: Any) -> None:
    network = Network(httpx.ReadError("reset"))
    with pytest.raises(Unavailable, match="did not answer: reset"):
        client(network).cancel("er_1", "no longer wanted")
    network = Network(httpx.ConnectError("refused"), httpx.Response(200, json=REQUEST))
    client(network).cancel("er_1", "no longer wanted")  # it never arrived, so it may
    network = Network(httpx.Response(429), httpx.Response(200, json=REQUEST))
    client(network).cancel("er_1", "no longer wanted")  # nothing was done, so it may
    with pytest.raises(ApiError):  # something may have been
        client(Network(problem(503))).cancel("er_1", "no longer wanted")


def test_nobody_answers(client: Any) -> None:
    network = Network(*[httpx.ConnectError("refused")] * 3)
    with pytest.raises(Unavailable, match=r"no service answers at http://lethe.test .*lethe serve"):
        client(network, retries=2).models()


def test_retries_end(client: Any) -> None:
    network = Network(*[problem(503, detail="the database does not answer")] * 3)
    with pytest.raises(ApiError, match="the database does not answer") as caught:
        client(network, retries=2).models()
    assert caught.value.status == 503


def in_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 0),
        ("3", 3, 3),
        ("120", 120, 120),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("in a minute", 1, 60),
        ("soon", 0.1, 0.2),
        ("-1", 0.1, 0.2),
        (None, 0.1, 0.2),
    ],
)
def test_pauses_follow_retry_after(
    client: Any, pauses: list[float], header: str | None, least: float, most: float
) -> None:
    if header == "in a minute":
        header = in_a_minute()
    headers = {"Retry-After": header} if header else {}
    network = Network(httpx.Response(429, headers=headers), httpx.Response(200))
    assert client(network).alive()
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


def test_pauses_double(client: Any, pauses: list[float]) -> None:
    network = Network(*[problem(503)] * 12)
    with pytest.raises(ApiError):
        client(network, retries=11).models()
    longest = [min(0.2 * 2**attempt, 30.0) for attempt in range(11)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))


def test_a_service_that_wants_to_be_left_alone_is(client: Any, pauses: list[float]) -> None:
    network = Network(httpx.Response(429, headers={"Retry-After": "121"}))
    with pytest.raises(ApiError) as caught:
        client(network).models()
    assert caught.value.status == 429
    assert pauses == []


def test_errors_carry_what_the_service_said(client: Any) -> None:
    network = Network(problem(404, detail="there is no model 'x'", code="not_found"))
    with pytest.raises(ApiError, match=r"there is no model 'x' \(HTTP 404\)") as caught:
        client(network).model("x")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    with pytest.raises(ApiError, match="Bad Gateway"):
        client(Network(httpx.Response(502, text="<html>")), retries=0).models()
    unknown = {"where": "sample_ids", "message": "unknown: train/9"}
    for errors, ends in (([unknown], "no: unknown: train/9"), (["odd"], "no"), ({}, "no")):
        network = Network(problem(422, detail="no", errors=errors))
        with pytest.raises(ApiError, match=rf"^{ends} \(HTTP 422\)"):
            client(network).model("x")
    with pytest.raises(ApiError, match="LETHE_API_KEY"):
        client(Network(problem(401, detail="not known"))).models()


@pytest.mark.parametrize("url", ["ftp://lethe.test", "lethe.test", "http://[::1"])
@pytest.mark.parametrize("kind", [Client, Blocking])
def test_addresses_that_are_none(kind: Any, url: str) -> None:
    with pytest.raises(LetheError, match="LETHE_URL"):
        kind(url, "key").models()


def test_both_clients_have_every_call_alike() -> None:
    def own(kind: type) -> dict[str, inspect.Signature]:
        methods = {name: each for name, each in vars(kind).items() if name[0] != "_"}
        return {name: inspect.signature(each) for name, each in methods.items()}

    flows = {
        name
        for noun in calls.__all__
        for name, each in vars(getattr(calls, noun)).items()
        if inspect.isfunction(each) and each.__module__ == f"{calls.__name__}.{noun}"
    }
    assert own(Client) == own(AsyncClient)
    assert set(own(Client)) - {"close"} == flows
    assert "subject_id" in inspect.signature(Client("http://x", "k").erase).parameters
    assert (Client.erase.__doc__ or "").startswith("Ask that `model` forget")


def test_names_stay_one_part_of_a_path(client: Any) -> None:
    network = Network(problem(404))
    with pytest.raises(ApiError):
        client(network).model("../keys?x=1")
    assert network.requests[0].url.raw_path == b"/models/..%2Fkeys%3Fx%3D1"


def job(status: str, fraction: float, etag: str) -> httpx.Response:
    body = {"id": "job_1", "status": status, "progress": {"fraction": fraction}}
    return httpx.Response(200, json=body, headers={"ETag": etag})


def test_waiting_asks_for_changes_only(client: Any) -> None:
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


def test_waiting_ends(client: Any) -> None:
    with pytest.raises(LetheError, match="job job_1 is not over yet"):
        client(Network(httpx.Response(200, json=REQUEST))).wait("er_1", timeout=0)
    network = Network(
        httpx.Response(200, json={**REQUEST, "job_ids": []}), httpx.Response(200, json=REQUEST)
    )
    with pytest.raises(LetheError, match="request er_1 is not over yet"):
        client(network).wait("er_1", timeout=0)


def test_lists_follow_their_cursor(client: Any) -> None:
    network = Network(
        httpx.Response(200, json={"items": [REQUEST], "next": "er_1"}),
        httpx.Response(200, json={"items": [{**REQUEST, "id": "er_0"}], "next": None}),
    )
    found = list(client(network).erasure_requests(status="scheduled"))
    assert [request.id for request in found] == ["er_1", "er_0"]
    assert dict(network.requests[1].url.params) == {"status": "scheduled", "cursor": "er_1"}


def test_readiness(client: Any) -> None:
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
