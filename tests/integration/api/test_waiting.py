"""Long-polls and event streams: prompt, and holding nothing while they wait."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.backend import Backend
from core.db import Database
from core.holding import Held
from core.settings import Settings
from service.api import jobs as jobs_api
from service.app import create_app
from service.watcher import Watcher
from tests.integration.api.hand import Hand


@pytest.fixture
def held(api: TestClient, api_hand: Hand) -> Held:
    api.post("/erasure-requests", json={"model": "digits", "subject_id": "subject-0"})
    return api_hand.claim()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as threads:
        yield threads


def waiting(app: FastAPI) -> int:
    watcher: Watcher = app.state.watcher
    return watcher.waiting


def until(check: Any) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_long_poll_wakes_within_a_second(
    api: TestClient, api_app: FastAPI, api_hand: Hand, held: Held, pool: ThreadPoolExecutor
) -> None:
    path = f"/jobs/{held.job_id}"
    etag = api.get(path).headers["ETag"]
    by_etag = [
        pool.submit(api.get, path, params={"wait": 30}, headers={"If-None-Match": etag})
        for _ in range(4)
    ]
    by_call = pool.submit(api.get, path, params={"wait": 30})
    until(lambda: waiting(api_app) == 5)
    changed = time.monotonic()
    api_hand.report(held, phase="unlearning", step=3)
    for future in (*by_etag, by_call):
        answer = future.result(timeout=5)
        assert answer.status_code == 200
        assert answer.json()["progress"]["step"] == 3
    assert time.monotonic() - changed < 1
    assert waiting(api_app) == 0


def test_waits_hold_no_connection(
    api: TestClient, api_app: FastAPI, api_backend: Backend, held: Held, pool: ThreadPoolExecutor
) -> None:
    futures = [
        pool.submit(api.get, f"/jobs/{held.job_id}", params={"wait": 0.8}) for _ in range(10)
    ]
    until(lambda: waiting(api_app) == 10)
    most = max(
        api_backend.db.engine.pool.checkedout()  # type: ignore[attr-defined]
        for _ in range(40)
        if time.sleep(0.01) is None
    )
    assert most <= 1
    assert {future.result().status_code for future in futures} == {200}


def test_time_runs_out(api: TestClient, held: Held) -> None:
    path = f"/jobs/{held.job_id}"
    started = time.monotonic()
    answer = api.get(path, params={"wait": 0.3})
    assert answer.status_code == 200
    assert 0.3 <= time.monotonic() - started < 2
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert api.get(path, params={"wait": 0.2}, headers=etag).status_code == 304


def test_nothing_to_wait_for_is_answered_at_once(
    api: TestClient, api_hand: Hand, held: Held
) -> None:
    path = f"/jobs/{held.job_id}"
    started = time.monotonic()
    assert api.get(path, params={"wait": 30}, headers={"If-None-Match": '"0"'}).status_code == 200
    api_hand.publish(held)
    api_hand.succeed(held)
    etag = api.get(path, params={"wait": 30}).headers["ETag"]
    again = api.get(path, params={"wait": 30}, headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("wait", [-1, 61, "x", "nan"])
def test_wrong_waits_are_refused(api: TestClient, held: Held, wait: Any) -> None:
    assert api.get(f"/jobs/{held.job_id}", params={"wait": wait}).status_code == 422


def test_a_client_that_leaves_is_forgotten(
    api: TestClient, held: Held, api_server: str, api_server_app: FastAPI
) -> None:
    headers = {"Authorization": api.headers["Authorization"]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(
            f"{api_server}/jobs/{held.job_id}", params={"wait": 60}, headers=headers, timeout=0.5
        )
    until(lambda: waiting(api_server_app) == 0)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    event_id = ""
    for line in lines:
        if line.startswith("id: "):
            event_id = line.removeprefix("id: ")
        if line.startswith("data: "):
            yield event_id, json.loads(line.removeprefix("data: "))


def test_events_follow_a_job_to_its_end(
    api: TestClient, api_hand: Hand, held: Held, api_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_api, "KEEP_ALIVE_SECONDS", 0.2)
    headers = {"Authorization": api.headers["Authorization"]}
    url = f"{api_server}/jobs/{held.job_id}/events"
    alive = False
    with httpx.stream("GET", url, headers=headers, timeout=10) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()

        def noticing() -> Iterator[str]:
            nonlocal alive
            for line in lines:
                alive = alive or line == ": still here"
                yield line

        follow = events(noticing())
        first_id, first = next(follow)
        assert first["status"] == "running"
        assert first_id == str(first["revision"])
        changed = time.monotonic()
        api_hand.report(held, step=7)
        assert next(follow)[1]["progress"]["step"] == 7
        assert time.monotonic() - changed < 1
        time.sleep(0.5)
        api_hand.publish(held)
        api_hand.succeed(held)
        rest = list(follow)
    assert rest[-1][1]["status"] == "succeeded"
    assert alive
    last = {"Last-Event-ID": rest[-1][0]}
    assert httpx.get(url, headers=headers | last).status_code == 204
    replayed = list(events(iter(httpx.get(url, headers=headers).text.splitlines())))
    assert [each["status"] for _, each in replayed] == ["succeeded"]


def test_a_reader_that_leaves_the_events_is_forgotten(
    api: TestClient, held: Held, api_server: str, api_server_app: FastAPI
) -> None:
    headers = {"Authorization": api.headers["Authorization"]}
    url = f"{api_server}/jobs/{held.job_id}/events"
    with httpx.stream("GET", url, headers=headers, timeout=10) as answer:
        lines = answer.iter_lines()  # kept: the connection closes with the last of its readers
        next(events(lines))
        until(lambda: waiting(api_server_app) == 1)
    until(lambda: waiting(api_server_app) == 0)


def test_a_database_that_fails_for_a_moment_does_not_end_the_waits(
    api: TestClient,
    api_app: FastAPI,
    api_hand: Hand,
    held: Held,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watcher: Watcher = api_app.state.watcher
    real, failed = watcher._revisions, threading.Event()

    def fails_once(job_ids: set[str]) -> dict[str, int]:
        if not failed.is_set():
            failed.set()
            raise OSError("the database has gone away")
        return real(job_ids)

    monkeypatch.setattr(watcher, "_revisions", fails_once)
    future = pool.submit(api.get, f"/jobs/{held.job_id}", params={"wait": 30})
    assert failed.wait(5)
    api_hand.report(held, step=1)
    assert future.result(timeout=5).json()["progress"]["step"] == 1


def test_a_note_that_cannot_be_written_is_let_go(
    api: TestClient, api_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Database) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Database, "transaction", fail)
    api_app.state.key_use.note("key_other")
    api_app.state.key_use.close()


@pytest.mark.parametrize("drain", [0.0, 0.3])
def test_a_signal_releases_those_who_wait(
    api_settings: Settings, api: TestClient, drain: float
) -> None:
    """In the main thread, as under a real server: ours first, then the server's own handler."""
    api_settings.drain_seconds = drain
    job_id = api.post(
        "/erasure-requests", json={"model": "digits", "subject_id": "subject-1"}
    ).json()["job_id"]
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))

    async def stopped_while_waiting() -> float:
        app = create_app(api_settings, "api")
        async with app.router.lifespan_context(app):
            watcher: Watcher = app.state.watcher
            wait = asyncio.create_task(watcher.wait(job_id, 1, 60))
            await asyncio.sleep(0.2)
            started = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)
            assert await wait
            assert watcher.closing
            assert await watcher.wait(job_id, 1, 60)
            seconds = time.monotonic() - started
            assert told == ([] if drain else [signal.SIGTERM])
            while not told:
                await asyncio.sleep(0.05)
            assert time.monotonic() - started >= drain
            return seconds

    try:
        assert asyncio.run(stopped_while_waiting()) < 1
        assert told == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(told) == 2, "the server's handler is back in place"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_event_stream_ends_when_the_process_stops(
    api: TestClient, held: Held, api_server: str, api_server_app: FastAPI
) -> None:
    headers = {"Authorization": api.headers["Authorization"]}
    with httpx.stream(
        "GET", f"{api_server}/jobs/{held.job_id}/events", headers=headers, timeout=10
    ) as answer:
        lines = answer.iter_lines()
        next(events(lines))
        until(lambda: waiting(api_server_app) == 1)
        api_server_app.state.loop.call_soon_threadsafe(api_server_app.state.watcher.release)
        assert list(events(lines)) == []
