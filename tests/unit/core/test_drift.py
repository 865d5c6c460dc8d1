"""The drift budget: charged by every approximate job, opened anew by exact training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core import drift
from core.drift import Budget
from core.errors import Invalid

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FRESH = drift.opened(trained=1000, below=1200, at=NOW)


def test_a_fresh_account_has_spent_nothing() -> None:
    assert set(drift.spent(Budget(), FRESH, NOW).values()) == {0.0}
    assert drift.overspent(Budget(), FRESH, NOW) is None


def test_jobs_add_up_and_gains_do_not_pay_for_losses() -> None:
    account = drift.charged(FRESH, erased=10, lost=0.004)
    account = drift.charged(account, erased=5, lost=-0.003)
    assert (account["jobs"], account["erased"]) == (2, 15)
    assert account["accuracy_lost"] == pytest.approx(0.004)
    assert FRESH["jobs"] == 0


@pytest.mark.parametrize(
    ("charges", "days", "limit"),
    [
        ([(50, 0.0)], 0, "erased_share"),
        ([(0, 0.0)] * 50, 0, "jobs"),
        ([(1, 0.006), (1, 0.004)], 0, "accuracy_lost"),
        ([], 365, "days"),
        ([(49, 0.009)], 364, None),
    ],
)
def test_each_limit_asks_for_a_retraining(
    charges: list[tuple[int, float]], days: int, limit: str | None
) -> None:
    account = FRESH
    for erased, lost in charges:
        account = drift.charged(account, erased=erased, lost=lost)
    assert drift.overspent(Budget(), account, NOW + timedelta(days=days)) == limit


def test_a_policy_sets_its_own_limits() -> None:
    budget = Budget.of({"budget": {"jobs": 2}})
    account = drift.charged(drift.charged(FRESH, erased=1, lost=0.0), erased=1, lost=0.0)
    assert drift.overspent(budget, account, NOW) == "jobs"
    assert Budget.of({}) == Budget()


def test_what_is_left_ends_at_nothing() -> None:
    account = drift.charged(FRESH, erased=20, lost=0.02)
    found = drift.standing(Budget(days=10), account, NOW + timedelta(days=4, seconds=90))
    assert found.used == pytest.approx(
        {"erased_share": 0.02, "jobs": 1, "accuracy_lost": 0.02, "days": 4}
    )
    assert found.left == pytest.approx(
        {"erased_share": 0.6, "jobs": 0.98, "accuracy_lost": 0.0, "days": 0.6}
    )
    assert (found.limits["days"], found.since) == (10, "2026-05-01T00:00:00.000000Z")


@pytest.mark.parametrize("bad", [{"jobs": 0}, {"days": "x"}, {"jobs": True}, {"weeks": 3}])
def test_a_senseless_limit_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(Invalid, match=next(iter(bad))):
        Budget.of({"budget": bad})
