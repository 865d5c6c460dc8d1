"""Counters in memory: what the library's own count, without its walk over all of them."""

from __future__ import annotations

import random
import threading

import pytest
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.counters import Counters


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which passes when the test says so."""
    now = [1_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def test_they_admit_whom_the_librarys_own_admit(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its thread walks over the counters while `get` removes some, and may fail in between.
    monkeypatch.setattr(MemoryStorage, "_MemoryStorage__schedule_expiry", lambda _: None)
    rng = random.Random(0)
    ours, theirs = (SlidingWindowCounterRateLimiter(each) for each in (Counters(), MemoryStorage()))
    items = [parse("3/second"), parse("10/minute"), parse("20/hour")]
    answers = set()
    for _ in range(3000):
        clock[0] += rng.choice((0.0, 0.01, 0.3, 5.0, 60.0))
        item, who, cost = rng.choice(items), rng.choice("abc"), rng.choice((1, 1, 2))
        answer = ours.hit(item, who, cost=cost)
        assert answer == theirs.hit(item, who, cost=cost)
        assert ours.get_window_stats(item, who) == theirs.get_window_stats(item, who)
        answers.add(answer)
    assert answers == {True, False}


def test_what_is_over_is_forgotten_and_no_thread_is_started(clock: list[float]) -> None:
    counters = Counters()
    counters.timer.join()  # the library starts one when it is made
    before = set(threading.enumerate())
    for number in range(500):
        counters.incr(f"subject-{number}", 10.0)
        assert set(threading.enumerate()) <= before
    counters.incr("subject-7", 10.0)
    assert len(counters.storage) == len(counters._ends) == 500
    clock[0] += 9.0
    counters.incr("late", 10.0)
    clock[0] += 1.0
    counters.incr("later", 10.0)
    assert set(counters.storage) == set(counters.expirations) == {"late", "later"}
    assert len(counters._ends) == 2


def test_one_that_began_anew_outlives_the_end_of_the_first(clock: list[float]) -> None:
    counters = Counters()
    counters.incr("a", 10.0)
    clock[0] += 10.0
    assert counters.get("a") == 0
    assert counters.incr("a", 10.0, amount=2) == 2
    clock[0] += 9.0
    assert counters.incr("a", 10.0) == 3
