"""Callbacks as they are sent: to real receivers, from the worker's side thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from core import deliveries, keys, webhooks
from core.backend import Backend, open_backend
from core.outbound import Outbound
from core.records import Delivery
from tests.factories import other, submit, with_model
from tests.integration.core.helpers import end
from tests.receiving import ALLOW, Receiver, receiver, reply, signature_holds
from worker.courier import Courier


@pytest.fixture
def allowed(sqlite_backend: Backend) -> Iterator[Backend]:
    """A backend with a model, that may call loopback addresses."""
    with_model(sqlite_backend)
    settings = other(
        sqlite_backend.settings, callback_allow=ALLOW, callback_http=True, sweep_seconds=0.05
    )
    backend = open_backend(settings, send=lambda _: None)
    yield backend
    backend.close()


@pytest.fixture
def taker() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def of_request(backend: Backend, request_id: str) -> list[Delivery]:
    with backend.db.reading() as session:
        return deliveries.listed(session, request_id=request_id)


def test_sent_in_order_and_signed(allowed: Backend, taker: Receiver) -> None:
    with allowed.db.transaction() as tx:
        key_id = keys.create(tx, "one", ["erase"])[0].id
        secret = webhooks.secret_of(tx.session, allowed.identities, key_id)
    done = submit(allowed, key_id=key_id, callback_url=f"{taker.url}/hook")
    courier = Courier(allowed, "me")
    assert courier.once() == 2
    end(allowed, done.request.id)
    assert courier.once() == 1
    assert courier.once() == 0
    told = [got.json["data"]["status"] for got in taker.got]
    assert told == ["received", "scheduled", "cancelled"]
    assert all(signature_holds(got, secret) for got in taker.got)
    sent = {got.headers["webhook-id"] for got in taker.got}
    assert sent == {each.id for each in of_request(allowed, done.request.id)}


def test_a_thread_sends_while_it_leads(allowed: Backend, taker: Receiver) -> None:
    first, second = Courier(allowed, "first"), Courier(allowed, "second")
    first.start()
    second.start()
    submit(allowed, callback_url=taker.url)
    taker.wait_for(2)
    first.stop()
    submit(allowed, "subject-1", callback_url=taker.url)
    taker.wait_for(4)
    second.stop()
    ids = [got.headers["webhook-id"] for got in taker.got]
    assert len(set(ids)) == len(ids) == 4, "one sends, each once"


def test_what_failed_is_on_record(
    allowed: Backend, taker: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    taker.answer = lambda handler, _: reply(handler, 500)
    done = submit(allowed, callback_url=f"{taker.url}/secret-path")
    silent = submit(allowed, "subject-1", callback_url="http://127.0.0.1:9/")
    inside = submit(allowed, "subject-2", callback_url="http://10.0.0.1/")
    Courier(allowed, "me").once()
    with allowed.db.reading() as session:
        for request, status, error in (
            (done.request, 500, None),
            (silent.request, None, "refused"),
            (inside.request, None, "LETHE_CALLBACK_ALLOW"),
        ):
            found = deliveries.listed(session, request_id=request.id)
            for tries in deliveries.attempts_of(session, [each.id for each in found]).values():
                assert [each.status for each in tries] == [status]
                assert error is None or error in str(tries[0].error)
    assert "callback failed" in caplog.text
    assert "secret-path" not in caplog.text, "an address may name somebody"


def test_given_up_is_said_aloud(
    allowed: Backend, taker: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    taker.answer = lambda handler, _: reply(handler, 410)
    submit(allowed, callback_url=taker.url)
    Courier(allowed, "me").once()
    assert [r.levelname for r in caplog.records if "given up" in r.message] == ["ERROR"] * 2


def test_a_slow_receiver_keeps_nobody_else_waiting(allowed: Backend, taker: Receiver) -> None:
    others_came = threading.Event()

    def wait(handler: Any, _: Any) -> None:
        others_came.wait(30)
        reply(handler, 204)

    with receiver() as slow:
        slow.answer = wait
        submit(allowed, callback_url=slow.url)
        submit(allowed, "subject-1", callback_url=taker.url)
        thread = threading.Thread(target=Courier(allowed, "me").once)
        thread.start()
        taker.wait_for(2)
        others_came.set()
        thread.join()
        assert len(slow.got) == 2


def test_who_stops_leaves_the_rest(allowed: Backend, taker: Receiver) -> None:
    done = submit(allowed, callback_url=taker.url)
    courier = Courier(allowed, "me")

    def stop(handler: Any, _: Any) -> None:
        courier._over.set()
        reply(handler, 204)

    taker.answer = stop
    courier.once()
    assert len(taker.got) == 1
    states = [each.state for each in of_request(allowed, done.request.id)]
    assert sorted(states) == ["delivered", "pending"]


def test_a_database_that_is_away_ends_nothing(
    allowed: Backend, taker: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    from core import leases

    real, failed = leases.take, threading.Event()

    def take(*args: Any) -> bool:
        if not failed.is_set():
            failed.set()
            raise OperationalError("BEGIN", {}, Exception("away"))
        return real(*args)

    monkeypatch.setattr(leases, "take", take)
    courier = Courier(allowed, "me")
    courier.start()
    submit(allowed, callback_url=taker.url)
    taker.wait_for(2)
    courier.stop()
    assert failed.is_set()


def test_a_fault_of_ours_is_one_more_failure(
    allowed: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> int:
        raise UnicodeError("strange")

    monkeypatch.setattr(Outbound, "post", fail)
    done = submit(allowed, callback_url="http://127.0.0.1:9/")
    Courier(allowed, "me").once()
    with allowed.db.reading() as session:
        found = deliveries.listed(session, request_id=done.request.id)
        tried = deliveries.attempts_of(session, [each.id for each in found])
    assert {one.error for [one] in tried.values()} == {"UnicodeError"}
    assert "could not be called" in caplog.text
