"""Identifiers: sortable by time, unguessable, safe in a URL."""

from __future__ import annotations

import re
import time

from core.ids import new_id


def test_shape() -> None:
    assert re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", new_id("job"))


def test_none_is_made_twice() -> None:
    assert len({new_id("x") for _ in range(10_000)}) == 10_000


def test_later_ones_sort_after_earlier_ones() -> None:
    made = []
    for _ in range(20):
        made.append(new_id("x"))
        time.sleep(0.002)
    assert made == sorted(made)


def test_the_time_is_in_front() -> None:
    before = time.time_ns() // 1_000_000
    digits = new_id("x").removeprefix("x_")
    number = 0
    for digit in digits:
        number = number << 5 | "0123456789abcdefghjkmnpqrstvwxyz".index(digit)
    assert before <= number >> 80 <= time.time_ns() // 1_000_000
