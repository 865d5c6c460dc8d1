"""Answers to an Idempotency-Key are kept for a month, and then no longer."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from core import intake, keys, repeats
from core.asked import Asked, NewRequest, Repeat
from core.backend import Backend
from core.records import ErasureRequest, Idempotency
from tests.factories import with_model


def ask(backend: Backend, key_id: str, value: str) -> ErasureRequest:
    repeat = Repeat(value, "digest", lambda request, _: request.id)
    new = NewRequest(model="digits", subject_id="subject-0")
    [done] = intake.take_all_in(backend, [Asked(new, key_id, repeat)])
    return done.request


def kept(backend: Backend) -> list[str]:
    with backend.db.reading() as session:
        return list(session.scalars(select(Idempotency.value).order_by(Idempotency.value)))


def age(backend: Backend, days: dict[str, float]) -> None:
    with backend.db.transaction() as tx:
        for value, old in days.items():
            at: datetime = tx.now - timedelta(days=old)
            changed = update(Idempotency).where(Idempotency.value == value)
            tx.session.execute(changed.values(created_at=at))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_what_is_older_than_a_month_goes_the_oldest_first(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(repeats, "AT_ONCE", at_once)
    monkeypatch.setattr(repeats, "MOST", 3)
    with_model(backend)
    with backend.db.transaction() as tx:
        key, _ = keys.create(tx, "shop", ["erase"])
    days = {"a": 90.0, "b": 31.0, "c": 40.0, "d": 30.1, "e": 29.9, "f": 0.0}
    for value in days:
        ask(backend, key.id, value)
    age(backend, days)
    if at_once < 100:
        assert repeats.forget_old(backend.db) in (3, 4)
        assert {"e", "f"} <= set(kept(backend)) <= {"d", "e", "f"}
    repeats.forget_old(backend.db)
    assert kept(backend) == ["e", "f"]
    assert repeats.forget_old(backend.db) == 0


def test_a_key_that_is_forgotten_may_be_used_anew(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    with sqlite_backend.db.transaction() as tx:
        key, _ = keys.create(tx, "shop", ["erase"])
    first = ask(sqlite_backend, key.id, "k")
    assert ask(sqlite_backend, key.id, "k").id == first.id
    age(sqlite_backend, {"k": 31.0})
    assert repeats.forget_old(sqlite_backend.db) == 1
    assert ask(sqlite_backend, key.id, "k").id != first.id
