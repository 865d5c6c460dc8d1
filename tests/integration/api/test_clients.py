"""Both Python clients against a service behind a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.backend import Backend
from lethe import ApiError, AsyncClient, Client
from lethe.answers import ErasureRequest, Job
from tests.integration.api.hand import Hand


@pytest.fixture
def client(api: TestClient, api_server: str) -> Iterator[Client]:
    key = api.headers["Authorization"].removeprefix("Bearer ")
    with Client(api_server, key) as client:
        yield client


def test_a_request_from_its_posting_to_its_certificate(client: Client, api_hand: Hand) -> None:
    request = client.erase("digits", subject_id="subject-3", regulation="gdpr")
    done = client.erase_many(
        [
            {"model": "digits", "subject_id": "subject-4", "external_id": "ticket-4"},
            {"model": "digits", "subject_id": "subject-5", "strategy": None},
            {"model": "nope", "subject_id": "subject-6"},
        ]
    )
    assert [item.status for item in done.items] == [202, 202, 404]
    assert done.items[2].problem is not None
    assert done.items[2].problem.code == "not_found"
    assert done.items[0].request is not None
    assert done.items[0].request.external_id == "ticket-4"
    nobody = client.wait(client.erase("digits", subject_id="nobody"))
    assert nobody.outcome == "no_data_found"
    assert nobody.id in client.certificate(nobody.id)
    assert client.certificate_page(nobody.id).startswith("<!doctype html>")
    assert client.certificate_key().startswith("-----BEGIN PUBLIC KEY")
    found = list(client.erasure_requests())
    assert [each.id for each in found][:1] == [nobody.id]
    assert len(found) == 4
    assert [each.id for each in client.erasure_requests(status="completed")] == [nobody.id]
    assert list(client.erasure_requests(overdue=True)) == []
    assert request.due_at is not None
    later = client.extend(request.id, request.due_at + timedelta(days=10), "it is complex")
    assert later.due_at == request.due_at + timedelta(days=10)
    assert client.erasure_request(request.id).history[-1].reason == "it is complex"
    assert client.cancel(request.id, "withdrawn").status == "cancelled"
    other = done.items[0].request
    assert client.reject(other.id, "not the person").status == "rejected"
    with pytest.raises(ApiError) as caught:
        client.cancel(request.id, "again")
    assert caught.value.code == "conflict"


def test_what_a_reviewer_and_an_admin_do(client: Client, api_hand: Hand) -> None:
    request = client.erase("digits", subject_id="subject-3")
    api_hand.give_to_person(api_hand.claim())
    assert request.job_id is not None
    assert client.wait(request, timeout=60).status == "needs_review"
    assert client.retry_job(request.job_id).status == "queued"
    assert client.cancel_job(request.job_id, "not now").status == "cancelled"
    assert [job.id for job in client.jobs(status="cancelled")] == [request.job_id]
    for decide in (client.approve_job, client.reject_job):
        with pytest.raises(ApiError, match="HTTP 409"):
            decide(request.job_id, "too late")
    with pytest.raises(ApiError, match="HTTP 409"):
        client.rollback("digits", 1, "it serves already")
    [model] = client.models()
    assert model == client.model("digits").model_copy(update={"drift": model.drift})
    assert model.serving is not None
    [version] = client.versions("digits")
    assert version.digest == model.serving.digest
    assert client.change_policy("digits", inconclusive="review").policy["inconclusive"] == "review"
    made = client.create_key("shop", ["erase", "read"], days=3)
    with Client(str(client._transport._url), made.key) as shop, pytest.raises(ApiError) as caught:
        shop.api_keys()
    assert caught.value.status == 403
    assert client.revoke_key(made.id).revoked_at is not None
    assert made.id in {key.id for key in client.api_keys()}
    assert client.alive()
    assert client.ready()
    assert client.readiness().checks["database"].ok
    assert isinstance(client.warnings(), list)
    assert "lethe_erasure_requests" in client.metrics()


def test_the_same_from_an_event_loop(
    api: TestClient, api_server: str, api_hand: Hand, api_backend: Backend
) -> None:
    """Many at once in one thread; a wait that ends when the job does; a list, iterated."""
    key = api.headers["Authorization"].removeprefix("Bearer ")
    waiting = threading.Event()

    def work() -> None:
        assert waiting.wait(60)
        held = api_hand.claim()
        api_hand.report(held, phase="unlearning", step=3)
        api_hand.give_to_person(held)

    async def calls() -> tuple[list[ErasureRequest], Any, list[str]]:
        seen: list[str] = []

        def progress(job: Job) -> None:
            seen.append(job.status)
            waiting.set()

        async with AsyncClient(api_server, key) as lethe:
            asked = await asyncio.gather(
                *(lethe.erase("digits", subject_id=f"subject-{n}") for n in range(5))
            )
            for request in asked[1:]:
                await lethe.cancel(request.id, "withdrawn")
            ended = await lethe.wait(asked[0], timeout=60, on_progress=progress)
            listed = lethe.erasure_requests(status="cancelled")
            assert isinstance(listed, AsyncIterator)
            return [request async for request in listed], ended, seen

    worker = threading.Thread(target=work)
    worker.start()
    try:
        cancelled, ended, seen = asyncio.run(calls())
    finally:
        waiting.set()
        worker.join()
    assert len(cancelled) == 4
    assert ended.status == "needs_review"
    assert (seen[0], seen[-1]) == ("queued", "needs_review")
