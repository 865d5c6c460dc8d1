"""The audit chain: whatever is done to it is named, and writers at once never break it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update

from core import audit, certificates
from core.audit import GENESIS, ChainReport, canonical, event_hash
from core.backend import Backend
from core.db import Transaction
from core.records import AuditEvent, AuditHead
from tests.factories import submit, with_model
from tests.integration.core.helpers import at_once, request_of


def write(backend: Backend, events: int = 6) -> None:
    for n in range(events):
        with backend.db.transaction() as tx:
            tx.record("thing", f"id_{n}", "changed", n=n, share=0.25, deep={"a": [1, None]})


def report(backend: Backend) -> ChainReport:
    with backend.db.reading() as session:
        return audit.verify_chain(session)


def test_an_empty_chain_holds(backend: Backend) -> None:
    assert report(backend) == ChainReport(0, GENESIS)
    with backend.db.reading() as session:
        assert audit.head_of(session) == (0, GENESIS)


def test_a_sound_chain_holds_and_ends_at_its_head(backend: Backend) -> None:
    write(backend)
    found = report(backend)
    assert (found.events, found.broken_at) == (6, None)
    with backend.db.reading() as session:
        assert audit.head_of(session) == (6, found.head)
        (event,) = audit.history(session, "thing", "id_3")
        assert (event.event, event.data["n"]) == ("changed", 3)


def change(**values: Any) -> Callable[[Transaction], object]:
    return lambda tx: tx.session.execute(
        update(AuditEvent).where(AuditEvent.seq == 3).values(**values)
    )


def later(tx: Transaction) -> None:
    row = tx.session.get_one(AuditEvent, 3)
    row.at += timedelta(microseconds=1)


def drop(seq: int) -> Callable[[Transaction], object]:
    return lambda tx: tx.session.execute(delete(AuditEvent).where(AuditEvent.seq == seq))


def swap(tx: Transaction) -> None:
    for old, new in [(3, 99), (4, 3), (99, 4)]:
        tx.session.execute(update(AuditEvent).where(AuditEvent.seq == old).values(seq=new))


def insert(tx: Transaction) -> None:
    """A forged event in the middle, hashed rightly, the later ones moved up."""
    for seq in (6, 5, 4):
        tx.session.execute(update(AuditEvent).where(AuditEvent.seq == seq).values(seq=seq + 1))
    before = tx.session.get_one(AuditEvent, 3).hash
    body = {"noun": "thing", "noun_id": "forged", "event": "changed", "data": {}}
    digest = event_hash(before, 4, tx.now, **body)  # type: ignore[arg-type]
    tx.session.add(AuditEvent(seq=4, at=tx.now, previous=before, hash=digest, **body))


def append(tx: Transaction) -> None:
    last = tx.session.get_one(AuditEvent, 6).hash
    body = {"noun": "thing", "noun_id": "forged", "event": "changed", "data": {}}
    digest = event_hash(last, 7, tx.now, **body)  # type: ignore[arg-type]
    tx.session.add(AuditEvent(seq=7, at=tx.now, previous=last, hash=digest, **body))


def rehash(tx: Transaction) -> None:
    row = tx.session.get_one(AuditEvent, 3)
    row.noun_id = "forged"
    row.hash = event_hash(row.previous, 3, row.at, row.noun, "forged", row.event, row.data)


TAMPERINGS: list[tuple[str, Callable[[Transaction], object], int, str]] = [
    ("noun", change(noun="other"), 3, "was changed"),
    ("noun_id", change(noun_id="id_9"), 3, "was changed"),
    ("event", change(event="made"), 3, "was changed"),
    ("data", change(data={"n": 3, "share": 0.25, "deep": {"a": [1, None]}}), 3, "was changed"),
    ("data's type", change(data={"n": 2.0, "share": 0.25, "deep": {"a": [1, None]}}), 3, "was"),
    ("at", later, 3, "was changed"),
    ("hash", change(hash="f" * 64), 3, "was changed"),
    ("previous", change(previous="f" * 64), 3, "does not follow"),
    ("rehashed", rehash, 4, "does not follow"),
    ("first gone", drop(1), 1, "is missing"),
    ("one gone", drop(3), 3, "is missing"),
    ("last gone", drop(6), 6, "events after 5 are missing"),
    ("reordered", swap, 3, "does not follow"),
    ("inserted", insert, 5, "does not follow"),
    ("appended", append, 8, "are missing"),
    ("head gone", lambda tx: tx.session.execute(delete(AuditHead)), 7, "are missing"),
]


@pytest.mark.parametrize(
    ("tamper", "at", "reason"), [t[1:] for t in TAMPERINGS], ids=[t[0] for t in TAMPERINGS]
)
def test_tampering_is_named(
    backend: Backend, tamper: Callable[[Transaction], object], at: int, reason: str
) -> None:
    write(backend)
    with backend.db.transaction() as tx:
        tamper(tx)
    found = report(backend)
    assert found.broken_at == at
    assert found.reason is not None
    assert reason in found.reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize(
    "data", [{"x": 1e16}, {"x": -0.0}, {"x": 1e-300}, {"x": 10**40}, {"x": "\0"}, {"ключ": "✓"}]
)
def test_whatever_an_event_says_the_chain_holds(backend: Backend, data: dict[str, Any]) -> None:
    with backend.db.transaction() as tx:
        tx.record("thing", "id", "changed", **data)
    assert report(backend).broken_at is None


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), json_values))
def test_canonical_bytes_do_not_depend_on_order(document: dict[str, Any]) -> None:
    turned = dict(reversed(document.items()))
    assert canonical(document) == canonical(turned)


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": float("nan")})


@pytest.mark.parametrize("fresh", [True, False])
def test_writers_at_once_take_turns(backend: Backend, fresh: bool) -> None:
    """The first events of all are the ones for which there is no head to lock yet."""
    if not fresh:
        write(backend, 1)
    done = at_once(*[lambda: write(backend, 5)] * 6)
    assert done == [None] * 6
    assert report(backend) == ChainReport(30 + (not fresh), report(backend).head)


def test_a_head_that_was_read_before_others_wrote_is_read_anew(
    postgres_backend: Backend,
) -> None:
    """A certificate names the head, unlocked; the chain must not go on from what it read."""
    backend = postgres_backend
    with_model(backend)
    request = request_of(backend, submit(backend, "subject-1").request.id)
    with backend.db.transaction() as tx:
        head = tx.session.get_one(AuditHead, 1)
        certificates.issue(tx, backend.signer, request, "people", {})
        seq = head.seq
        write(backend, 1)
    assert head.seq == seq + 2
    assert report(backend).broken_at is None
    with backend.db.transaction() as tx:  # issuing twice is a no-op
        certificates.issue(tx, backend.signer, request, "people", {})
        assert tx.events == []


def test_a_walk_beside_writers_finds_nothing_missing(backend: Backend) -> None:
    write(backend, 30)
    over = threading.Event()

    def keep_writing() -> None:
        while not over.is_set():
            write(backend, 1)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        until = time.monotonic() + 1.0
        walks = 0
        while time.monotonic() < until or walks < 10:
            assert report(backend).broken_at is None
            walks += 1
    finally:
        over.set()
        writer.join()


def test_events_name_no_person(backend: Backend) -> None:
    with_model(backend)
    submit(backend, "subject-1", external_id="ticket")
    with backend.db.reading() as session:
        for event in session.scalars(select(AuditEvent)):
            assert "subject-" not in str(vars(event))
        assert session.scalar(text("SELECT count(*) FROM audit_events")) == len(
            session.scalars(select(AuditEvent)).all()
        )
