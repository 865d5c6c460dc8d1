"""Callbacks as records: written with every change, tried until they are taken or given up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

from core import deliveries, jobs, keys, requests, webhooks
from core.backend import Backend
from core.deliveries import JITTER, PAUSES
from core.errors import Conflict, Invalid, NotFound
from core.records import Delivery, DeliveryAttempt
from tests.factories import submit, with_model
from tests.integration.core.helpers import at_once, claimed, end, events_of
from tests.receiving import Got, signature_holds

URL = "https://93.184.215.14/hook"


def made(backend: Backend, **new: Any) -> str:
    """A request whose callbacks wait; returns its id."""
    with_model(backend)
    return submit(backend, callback_url=URL, **new).request.id


def messages(backend: Backend, request_id: str) -> list[Delivery]:
    """Its messages, the oldest first."""
    with backend.db.reading() as session:
        found = deliveries.listed(session, request_id=request_id)
    return sorted(found, key=lambda each: each.created_at)


def one(backend: Backend, request_id: str, nth: int = 0) -> Delivery:
    return messages(backend, request_id)[nth]


def attempts(backend: Backend, delivery_id: str) -> list[DeliveryAttempt]:
    with backend.db.reading() as session:
        return deliveries.attempts_of(session, [delivery_id])[delivery_id]


def let_pass(backend: Backend, delivery_id: str) -> None:
    """Let the pause be over."""
    with backend.db.transaction() as tx:
        past = tx.now - timedelta(seconds=1)
        query = update(Delivery).where(Delivery.id == delivery_id)
        tx.session.execute(query.values(next_at=past))


def tried(backend: Backend, delivery_id: str, status: int | None, error: str | None = None) -> str:
    """One attempt that ends so."""
    let_pass(backend, delivery_id)
    attempt = deliveries.begin(backend, delivery_id)
    assert attempt is not None
    return deliveries.end(backend.db, attempt, status, error)


def test_every_change_of_state_is_told(backend: Backend) -> None:
    request_id = made(backend, external_id="ticket-7")
    held = claimed(backend)
    with backend.db.transaction() as tx:
        jobs.follow(tx, jobs.get(tx.session, held.job_id))
    found = messages(backend, request_id)
    states = ["received", "scheduled", "in_progress"]
    assert [each.event for each in found] == [f"erasure_request.{state}" for state in states]
    told = [json.loads(each.payload) for each in found]
    assert [each["data"]["status"] for each in told] == states
    assert told[0]["data"].keys() == {
        *("id", "status", "outcome", "external_id"),
        *("received_at", "due_at", "completed_at"),
    }
    assert told[0]["data"]["id"] == request_id
    assert told[0]["data"]["external_id"] == "ticket-7"
    assert [url for _, url in deliveries.due(backend.db, 10)] == [URL] * 3
    assert [each for each, _ in deliveries.due(backend.db, 10)] == [each.id for each in found]


def test_no_payload_has_a_persons_name_or_a_reason(sqlite_backend: Backend) -> None:
    request_id = made(sqlite_backend)
    end(sqlite_backend, request_id, "cancelled")  # "asked by the person"
    last = one(sqlite_backend, request_id, -1)
    assert json.loads(last.payload)["data"]["outcome"] == "cancelled"
    for each in messages(sqlite_backend, request_id):
        assert "subject-0" not in each.payload
        assert "person" not in each.payload


def test_nothing_found_is_told_too(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    done = submit(sqlite_backend, "nobody", callback_url=URL)
    *_, last = messages(sqlite_backend, done.request.id)
    assert json.loads(last.payload)["data"]["outcome"] == "no_data_found"


def test_without_an_address_nothing_is_told(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    assert messages(sqlite_backend, submit(sqlite_backend).request.id) == []


def test_what_is_undone_is_not_told(sqlite_backend: Backend) -> None:
    request_id = made(sqlite_backend)
    before = len(messages(sqlite_backend, request_id))

    def end_and_fail() -> None:
        with sqlite_backend.db.transaction() as tx:
            requests.end(tx, request_id, "cancelled", "undone")
            raise Conflict("on purpose")

    with pytest.raises(Conflict, match="on purpose"):
        end_and_fail()
    assert len(messages(sqlite_backend, request_id)) == before


def test_taken_is_delivered(backend: Backend) -> None:
    delivery = one(backend, made(backend))
    assert tried(backend, delivery.id, 202) == "delivered"
    [attempt] = attempts(backend, delivery.id)
    assert (attempt.number, attempt.status, attempt.error) == (1, 202, None)
    assert attempt.ended_at is not None
    assert events_of(backend, "delivery", delivery.id) == ["pending->delivered"]
    let_pass(backend, delivery.id)
    assert deliveries.begin(backend, delivery.id) is None


def test_tried_for_three_days_then_given_up(sqlite_backend: Backend) -> None:
    delivery = one(sqlite_backend, made(sqlite_backend))
    waited = timedelta()
    for pause in PAUSES:
        assert tried(sqlite_backend, delivery.id, 503) == "pending"
        now = datetime.now(UTC)
        with sqlite_backend.db.reading() as session:
            wait = session.get_one(Delivery, delivery.id).next_at - now
        assert pause * (1 - JITTER) - 1 <= wait.total_seconds() <= pause * (1 + JITTER)
        waited += wait
    assert timedelta(days=2.4) < waited < timedelta(days=3.6)
    assert tried(sqlite_backend, delivery.id, None, "no answer") == "given_up"
    with sqlite_backend.db.reading() as session:
        [found] = deliveries.listed(session, status="given_up")
        assert found.id == delivery.id
        assert deliveries.counts(session)["given_up"] == 1
        with pytest.raises(Invalid, match="pending, delivered, given_up"):
            deliveries.listed(session, status="lost")
    assert len(attempts(sqlite_backend, delivery.id)) == len(PAUSES) + 1
    assert events_of(sqlite_backend, "delivery", delivery.id) == ["pending->given_up"]


def test_gone_is_given_up_at_once(sqlite_backend: Backend) -> None:
    assert tried(sqlite_backend, one(sqlite_backend, made(sqlite_backend)).id, 410) == "given_up"


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
def test_any_other_answer_is_a_failure(sqlite_backend: Backend, status: int) -> None:
    delivery = one(sqlite_backend, made(sqlite_backend))
    assert tried(sqlite_backend, delivery.id, status) == "pending"


def test_an_attempt_that_nobody_ends_is_made_again(backend: Backend) -> None:
    delivery = one(backend, made(backend))
    let_pass(backend, delivery.id)
    lost = deliveries.begin(backend, delivery.id)
    assert lost is not None
    assert deliveries.begin(backend, delivery.id) is None, "it is under way"
    let_pass(backend, delivery.id)  # its time is up
    again = deliveries.begin(backend, delivery.id)
    assert again is not None
    assert again.headers["webhook-id"] == lost.headers["webhook-id"] == delivery.id
    assert again.payload == lost.payload
    assert deliveries.end(backend.db, again, 200, None) == "delivered"
    assert deliveries.end(backend.db, lost, None, "late") == "delivered"
    assert [each.number for each in attempts(backend, delivery.id)] == [1, 2]


def test_of_two_senders_one_sends(backend: Backend) -> None:
    delivery = one(backend, made(backend))
    let_pass(backend, delivery.id)
    begun = at_once(*[lambda: deliveries.begin(backend, delivery.id)] * 4)
    assert sum(attempt is not None for attempt in begun) == 1


def test_replayed(sqlite_backend: Backend) -> None:
    delivery = one(sqlite_backend, made(sqlite_backend))
    assert tried(sqlite_backend, delivery.id, 410) == "given_up"
    with sqlite_backend.db.transaction() as tx:
        assert deliveries.replay(tx, delivery.id).state == "pending"
    attempt = deliveries.begin(sqlite_backend, delivery.id)
    assert attempt is not None
    assert attempt.headers["webhook-id"] == delivery.id
    assert deliveries.end(sqlite_backend.db, attempt, 500, None) == "pending"
    with sqlite_backend.db.transaction() as tx:
        deliveries.replay(tx, delivery.id)  # it waits for its next pause to end: now it does not
    assert delivery.id in [each for each, _ in deliveries.due(sqlite_backend.db, 10)]
    assert events_of(sqlite_backend, "delivery", delivery.id) == [
        "pending->given_up",
        "given_up->pending",
        "hurried",
    ]
    with pytest.raises(NotFound, match="msg_none"), sqlite_backend.db.transaction() as tx:
        deliveries.replay(tx, "msg_none")


def as_sent(attempt: deliveries.Attempt) -> Got:
    return Got("/hook", dict(attempt.headers), attempt.payload.encode())


def test_each_key_has_a_secret_of_its_own(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    with backend.db.transaction() as tx:
        ids = [keys.create(tx, name, ["erase"])[0].id for name in ("one", "other")]
    with backend.db.reading() as session:
        one_, other = (webhooks.secret_of(session, backend.identities, each) for each in ids)
        with pytest.raises(NotFound, match="there is no key"):
            webhooks.secret_of(session, backend.identities, "key_none")
    request_id = made(backend, key_id=ids[0])
    attempt = deliveries.begin(backend, one(backend, request_id).id)
    assert attempt is not None
    got = as_sent(attempt)
    assert signature_holds(got, one_)
    Webhook(one_).verify(got.body, got.headers)
    assert not signature_holds(got, other)


def test_forged_and_replayed_callbacks_are_seen_through(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    with backend.db.transaction() as tx:
        key_id = keys.create(tx, "one", ["erase"])[0].id
        secret = webhooks.secret_of(tx.session, backend.identities, key_id)
    attempt = deliveries.begin(backend, one(backend, made(backend, key_id=key_id)).id)
    assert attempt is not None
    got = as_sent(attempt)
    assert signature_holds(got, secret)
    body = got.body.replace(b"received", b"completed")
    assert not signature_holds(Got(got.path, got.headers, body), secret)
    for name, value in (("webhook-id", "msg_other"), ("webhook-signature", "v1,AAAA")):
        assert not signature_holds(Got(got.path, {**got.headers, name: value}, got.body), secret)
    later = str(int(got.headers["webhook-timestamp"]) + 60)
    moved = {**got.headers, "webhook-timestamp": later}
    assert not signature_holds(Got(got.path, moved, got.body), secret), "the time is signed too"
    assert not signature_holds(got, secret, datetime.now(UTC) + timedelta(minutes=10)), "too old"


def test_a_rotated_secret_signs_beside_its_successor_for_a_day(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    with backend.db.transaction() as tx:
        key_id = keys.create(tx, "one", ["erase"])[0].id
        secrets = [webhooks.secret_of(tx.session, backend.identities, key_id)]
    for _ in range(2):
        with backend.db.transaction() as tx:
            secrets.append(webhooks.rotate(tx, backend.identities, key_id))
    assert len(set(secrets)) == 3
    with backend.db.reading() as session:
        assert webhooks.secret_of(session, backend.identities, key_id) == secrets[2]
        for late, force in ((False, [secrets[2], secrets[1]]), (True, [secrets[2]])):
            now = datetime.now(UTC) + late * timedelta(hours=25)
            found = webhooks.secrets_in_force(session, backend.identities, key_id, now)
            assert found == force
    assert events_of(backend, "key", key_id)[1:] == ["webhook secret rotated"] * 2
    attempt = deliveries.begin(backend, one(backend, made(backend, key_id=key_id)).id)
    assert attempt is not None
    held = [signature_holds(as_sent(attempt), secret) for secret in secrets]
    assert held == [False, True, True]


def test_no_secret_is_in_the_database(sqlite_backend: Backend) -> None:
    backend = sqlite_backend
    with backend.db.transaction() as tx:
        key_id = keys.create(tx, "one", ["erase"])[0].id
        text = webhooks.rotate(tx, backend.identities, key_id)
    home = backend.settings.home
    files = [path.read_bytes() for path in home.rglob("lethe.db*")]
    assert any(key_id.encode() in each for each in files)
    assert not any(text.removeprefix("whsec_").encode() in each for each in files)
