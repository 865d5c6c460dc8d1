"""The queue: a wake-up arrives, on the embedded broker and on Redis, or costs nobody anything."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from core.backend import open_backend
from core.migrate import upgrade
from core.queue import TASK, Queue, celery_app
from core.settings import Settings
from core.startup import prepare
from tests.factories import other, submit, with_model
from tests.integration.core.helpers import job_of
from tests.servers import free_port


@pytest.fixture(params=["filesystem", "redis"])
def on_broker(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings for each broker."""
    if request.param == "filesystem":
        return settings
    return other(settings, broker_url=request.getfixturevalue("redis_url"))


def received(settings: Settings, name: str = "lethe") -> list[tuple[str, Any]]:
    """Task and arguments of every message that waits, as a worker would take them."""
    app = celery_app(settings)
    found = []
    with (
        app.connection_for_read() as connection,
        connection.SimpleQueue(name) as queue,
        suppress(queue.Empty),
    ):
        while True:
            message = queue.get(timeout=1)
            found.append((message.headers["task"], message.payload[0]))
            message.ack()
    app.close()
    return found


def test_wake_ups_arrive_once_and_carry_ids_only(on_broker: Settings) -> None:
    queue = Queue(on_broker)
    for job_id in ("job_1", "job_2"):
        queue.wake(job_id)
    found = received(on_broker)
    assert sorted(found) == [(TASK, ["job_1"]), (TASK, ["job_2"])]


def test_a_request_wakes_a_worker_for_its_job(on_broker: Settings) -> None:
    backend = open_backend(on_broker)
    prepare(backend)
    with_model(backend)
    done = submit(backend)
    assert received(on_broker) == [(TASK, done.job_ids)]
    backend.close()


def test_brokers_under_two_homes_do_not_meet(settings: Settings, tmp_path: Path) -> None:
    Queue(settings).wake("job_1")
    assert received(other(settings, home=tmp_path / "other")) == []
    assert received(settings) == [(TASK, ["job_1"])]


def test_a_broker_that_is_gone_costs_a_request_nothing_but_a_line(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_backend(other(settings, broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    upgrade(backend.db)
    with_model(backend)
    start = time.monotonic()
    done = submit(backend)
    assert time.monotonic() - start < 2.5
    assert job_of(backend, done.job_ids[0]).state == "queued"
    warned = [r.getMessage() for r in caplog.records if r.name == "core.db"]
    assert [message.count(done.job_ids[0]) for message in warned] == [1]
    backend.close()


def test_connections_that_the_broker_dropped_are_made_anew(
    settings: Settings, redis_url: str
) -> None:
    queue = Queue(other(settings, broker_url=redis_url))
    queue.wake("job_1")
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    with suppress(Exception):  # one wake-up may be lost: sweep sends it again
        queue.wake("job_2")
    queue.wake("job_3")
    found = [args[0] for _, args in received(other(settings, broker_url=redis_url))]
    assert found[0] == "job_1"
    assert found[-1] == "job_3"


def test_the_embedded_broker_is_quiet(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Queue(settings).wake("job_1")
    assert caplog.records == []
