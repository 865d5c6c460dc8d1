"""The chain as people read it: newest first, filtered, a page at a time; exported whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core import audit, trail
from core.backend import Backend
from core.trail import Wanted

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def told(backend: Backend) -> Backend:
    """Nine events, an hour apart: of a job each third, else of keys."""
    for n in range(9):
        with backend.db.transaction() as tx:
            tx._now = START + timedelta(hours=n)
            noun = "job" if n % 3 == 0 else "key"
            tx.record(noun, f"{noun}_{n % 2}", "made" if n < 6 else "ended", n=n)
    return backend


def seqs(backend: Backend, wanted: Wanted, **page: int) -> list[int]:
    with backend.db.reading() as session:
        return [event.seq for event in trail.page(session, wanted, **page)]


def test_by_what_they_are_about_and_what_happened(told: Backend) -> None:
    assert seqs(told, Wanted()) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert seqs(told, Wanted(), limit=4) == [9, 8, 7, 6]
    assert seqs(told, Wanted(), before=6, limit=4) == [5, 4, 3, 2]
    assert seqs(told, Wanted(noun="job")) == [7, 4, 1]
    assert seqs(told, Wanted(noun="job", noun_id="job_0")) == [7, 1]
    assert seqs(told, Wanted(event="ended")) == [9, 8, 7]
    assert seqs(told, Wanted(noun="key", event="ended"), before=9) == [8]
    assert seqs(told, Wanted(noun="nothing")) == []


def test_by_when_they_happened(told: Backend) -> None:
    third, sixth = START + timedelta(hours=2), START + timedelta(hours=5)
    assert seqs(told, Wanted(since=third)) == [9, 8, 7, 6, 5, 4, 3]
    assert seqs(told, Wanted(until=third)) == [2, 1]
    assert seqs(told, Wanted(since=third, until=sixth)) == [5, 4, 3]
    assert seqs(told, Wanted(noun="job", since=third, until=sixth)) == [4]
    assert seqs(told, Wanted(since=START + timedelta(days=1))) == []
    assert seqs(told, Wanted(until=START)) == []


def test_one_that_committed_late_is_found_by_its_own_time(told: Backend) -> None:
    """A transaction takes its time when it begins and its number when it ends."""
    with told.db.transaction() as tx:
        tx._now = START + timedelta(hours=8, seconds=-50)
        tx.record("key", "key_1", "late")
    eighth = START + timedelta(hours=8)
    assert seqs(told, Wanted(since=eighth)) == [9]
    assert seqs(told, Wanted(until=eighth)) == [10, 8, 7, 6, 5, 4, 3, 2, 1]


def test_what_is_exported_can_be_checked_without_us(
    told: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "AT_ONCE", 4)
    with told.db.reading() as session:
        lines = b"".join(trail.exported(session, Wanted())).splitlines()
        jobs = b"".join(trail.exported(session, Wanted(noun="job"))).splitlines()
        assert list(trail.exported(session, Wanted(until=START))) == []
    previous = audit.GENESIS
    for number, line in enumerate(lines, 1):
        event = json.loads(line)
        at = datetime.fromisoformat(event["at"])
        assert (event["seq"], event["previous"]) == (number, previous)
        previous = audit.event_hash(
            previous, number, at, event["noun"], event["noun_id"], event["event"], event["data"]
        )
        assert event["hash"] == previous
    assert len(lines) == 9
    assert [json.loads(line)["seq"] for line in jobs] == [1, 4, 7]


def test_the_nouns_that_are_offered_are_those_that_are_recorded() -> None:
    root = Path(trail.__file__).parent.parent
    text = "".join(
        path.read_text() for part in ("core", "worker") for path in (root / part).rglob("*.py")
    )
    assert [noun for noun in trail.NOUNS if f'"{noun}"' not in text] == []
    recorded = {part.split('"')[1] for part in text.split("tx.record(")[1:] if '"' in part[:20]}
    assert recorded <= set(trail.NOUNS)
