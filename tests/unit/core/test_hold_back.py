"""Who is held back: whole subjects, by a seeded hash, in shares near what they should be."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.deadlines import a_month_after
from core.incoming import HoldBack


@pytest.mark.parametrize(
    ("count", "has_test", "shares"),
    [
        (9_999, True, (0.15, 0.15, 0.0)),
        (9_999, False, (0.15, 0.15, 0.1)),
        (10_000, True, (0.05, 0.05, 0.0)),
        (10_000, False, (0.05, 0.05, 0.1)),
        (200_000, True, (0.05, 0.05, 0.0)),
        (1_000_000, True, (0.01, 0.01, 0.0)),
        (1_000_000, False, (0.01, 0.01, 0.01)),
    ],
)
def test_shares_are_kept(count: int, has_test: bool, shares: tuple[float, ...]) -> None:
    hold = HoldBack.of(3, count, has_test)
    assert (hold.reference, hold.heldout, hold.test) == shares
    n = 20_000
    found = Counter(hold.split(f"subject-{i}") for i in range(n))
    for name, share in zip(("reference", "heldout", "test"), shares, strict=True):
        spread = 5 * (n * share * (1 - share)) ** 0.5  # five standard deviations
        assert abs(found[name] - n * share) <= spread
    assert sum(found.values()) == n


@given(st.integers(), st.text(alphabet=st.characters(codec="utf-8")))
def test_the_same_subject_always_goes_to_the_same_split(seed: int, name: str) -> None:
    assert HoldBack.of(seed, 100, False).split(name) == HoldBack.of(seed, 100, False).split(name)


def test_another_seed_holds_others_back() -> None:
    names = [f"subject-{i}" for i in range(1000)]
    one, two = (
        {n for n in names if HoldBack.of(seed, 100, False).split(n) == "heldout"} for seed in (0, 1)
    )
    assert one != two
    assert len(one & two) < len(one) / 2


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-01-31", "2026-02-28"),
        ("2028-01-31", "2028-02-29"),
        ("2028-01-29", "2028-02-29"),
        ("2026-03-31", "2026-04-30"),
        ("2026-11-30", "2026-12-30"),
        ("2026-12-31", "2027-01-31"),
        ("2026-12-01", "2027-01-01"),
        ("2026-02-28", "2026-03-28"),
    ],
)
def test_a_month_after(day: str, expected: str) -> None:
    moment = datetime.fromisoformat(f"{day}T12:34:56.789+00:00")
    assert a_month_after(moment) == datetime.fromisoformat(f"{expected}T12:34:56.789+00:00")


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1), timezones=st.just(UTC)))
def test_a_month_is_28_to_31_days_and_in_the_next_month(moment: datetime) -> None:
    due = a_month_after(moment)
    assert timedelta(days=28) <= due - moment <= timedelta(days=31)
    assert (due.year * 12 + due.month) - (moment.year * 12 + moment.month) == 1
    assert due.timetz() == moment.timetz()
