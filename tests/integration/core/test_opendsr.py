"""OpenDSR requests under several at once, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy.exc import IntegrityError

from core import keys, opendsr, opendsr_state
from core.backend import Backend, open_backend
from core.errors import Conflict, SettingsError
from core.opendsr import Identity, NewOpenDsrRequest
from core.records import OpenDsrRequest
from core.settings import Settings
from tests.factories import make_dataset, make_model
from tests.integration.core.helpers import at_once, end, events_of

NUMBER = "a7551968-d5d6-44b2-9831-815ac9017798"


def wanted(body: bytes = b"{}") -> NewOpenDsrRequest:
    return NewOpenDsrRequest(
        subject_request_id=NUMBER,
        identities=(Identity("subject-3", "raw"),),
        submitted_at=datetime(2026, 11, 2, tzinfo=UTC),
        version="2.0",
        domain="localhost",
        body=body,
        callback_urls=("https://93.184.215.14/hook",),
    )


@pytest.fixture
def key_id(backend: Backend) -> str:
    for number, name in enumerate(("one", "two", "three")):
        make_model(backend, make_dataset(backend, name, seed=number), name)
    with backend.db.transaction() as tx:
        return keys.create(tx, "a controller", ["erase"])[0].id


def now(backend: Backend, opendsr_id: str) -> OpenDsrRequest:
    with backend.db.reading() as session:
        return session.get_one(OpenDsrRequest, opendsr_id)


def test_the_last_of_parts_that_end_at_once_ends_the_whole(backend: Backend, key_id: str) -> None:
    record = opendsr.take_in(backend, wanted(), key_id)
    with backend.db.reading() as session:
        parts = [each.id for each in opendsr_state.erasures_of(session, record.id)]
    assert len(parts) == 3
    assert at_once(*[partial(end, backend, each) for each in parts]) == [None] * 3
    ended = now(backend, record.id)
    assert (ended.state, ended.ended_at is not None) == ("cancelled", True)
    moves = events_of(backend, "opendsr_request", record.id)
    assert moves == ["received", "received->pending", "pending->cancelled"]


def test_the_same_number_at_once_is_one_request(backend: Backend, key_id: str) -> None:
    done = at_once(*[partial(opendsr.take_in, backend, wanted(), key_id)] * 4)
    assert len({each.id for each in done}) == 1
    with pytest.raises(Conflict, match="another body"):
        opendsr.take_in(backend, wanted(b"[]"), key_id)


def test_what_the_database_refuses_is_not_taken_for_a_repeat(
    backend: Backend, key_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise IntegrityError("INSERT", {}, Exception("refused"))

    monkeypatch.setattr(opendsr, "_enter", refuse)
    with pytest.raises(IntegrityError):
        opendsr.take_in(backend, wanted(), key_id)


def test_an_address_without_a_key_to_sign_with_is_said_at_the_start(settings: Settings) -> None:
    half = settings.model_copy(update={"opendsr_url": "https://lethe.example.org"})
    with pytest.raises(SettingsError, match="LETHE_OPENDSR"):
        open_backend(half)


def test_a_part_handed_back_does_not_make_it_pending_again(backend: Backend, key_id: str) -> None:
    record = opendsr.take_in(backend, wanted(), key_id)
    assert opendsr_state._state("in_progress", {"scheduled"}) == "in_progress"
    assert opendsr_state._state("pending", {"scheduled", "completed"}) == "in_progress"
    assert opendsr_state._state("pending", {"scheduled", "cancelled"}) == "pending"
    assert opendsr_state._state("in_progress", {"rejected", "completed"}) == "completed"
    assert record.state == "pending"
