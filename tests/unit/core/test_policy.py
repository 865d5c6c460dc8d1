"""What a policy may say, how a change is merged, and what differs from the defaults."""

from __future__ import annotations

import math
from typing import Any

import pytest

from core import policy
from core.drift import Budget
from core.errors import Invalid
from unlearning.verification.thresholds import Thresholds


def test_the_thresholds_are_those_of_the_gates() -> None:
    defaults = {name: each.default for name, each in policy.THRESHOLDS.items()}
    assert defaults == Thresholds().to_dict()


@pytest.mark.parametrize("name", policy.THRESHOLDS)
def test_the_ranges_are_those_of_the_gates(name: str) -> None:
    known = policy.THRESHOLDS[name]
    inside = (math.nextafter(known.above, math.inf), known.most)
    outside = (known.above, math.nextafter(known.most, math.inf))
    for value in inside:
        assert policy.merged({}, {"thresholds": {name: value}}) == {"thresholds": {name: value}}
        assert Thresholds.from_dict({name: value}).to_dict()[name] == value
    for value in outside:
        with pytest.raises(Invalid, match=rf"thresholds\.{name}: must be above"):
            policy.merged({}, {"thresholds": {name: value}})
        with pytest.raises(ValueError, match=name):
            Thresholds.from_dict({name: value})


def test_what_is_silent_has_its_default() -> None:
    whole = policy.in_force({})
    assert whole["inconclusive"] == "publish"
    assert whole["relearning"] is False
    assert whole["budget"] == {"erased_share": 0.05, "jobs": 50, "accuracy_lost": 0.01, "days": 365}
    assert whole["scheduling"] == {"class": None, "tenant": None, "weight": 1.0, "memory_mb": None}
    assert policy.deviations({}) == []
    assert set(policy.DEFAULTS) == {
        *("inconclusive", "relearning"),
        *(f"thresholds.{name}" for name in policy.THRESHOLDS),
        *(f"budget.{name}" for name in whole["budget"]),
        *(f"scheduling.{name}" for name in whole["scheduling"]),
    }


def test_a_change_is_merged_and_null_resets() -> None:
    first = {
        "inconclusive": "review",
        "thresholds": {"auc_band": 0.05, "class_loss": 0.1},
        "budget": {"jobs": 20},
        "relearning": True,
    }
    stored = policy.merged({}, first)
    assert stored == first
    assert policy.deviations(stored) == [
        {"setting": "inconclusive", "default": "publish", "in_force": "review"},
        {"setting": "relearning", "default": False, "in_force": True},
        {"setting": "thresholds.auc_band", "default": 0.1, "in_force": 0.05},
        {"setting": "thresholds.class_loss", "default": 0.03, "in_force": 0.1},
        {"setting": "budget.jobs", "default": 50, "in_force": 20},
    ]
    stored = policy.merged(stored, {"thresholds": {"auc_band": None, "level": 0.01}})
    assert stored["thresholds"] == {"class_loss": 0.1, "level": 0.01}
    stored = policy.merged(stored, {"thresholds": None, "inconclusive": None, "budget": {}})
    assert stored == {"budget": {"jobs": 20}, "relearning": True}
    assert policy.merged(stored, {"budget": {"jobs": None}, "relearning": None}) == {}
    assert Budget.of(stored).jobs == 20


def test_a_default_that_is_said_is_no_deviation() -> None:
    stored = policy.merged({}, {"thresholds": {"auc_band": 0.1}, "inconclusive": "publish"})
    assert stored["thresholds"] == {"auc_band": 0.1}
    assert policy.deviations(stored) == []


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"inconclusive": "ignore"}, "inconclusive"),
        ({"inconclusive": ["publish"]}, "inconclusive"),
        ({"relearning": 1}, "relearning"),
        ({"thresholds": [0.1]}, "thresholds"),
        ({"thresholds": {"auc_bond": 0.1}}, "thresholds.auc_bond"),
        ({"thresholds": {"auc_bond": None}}, "thresholds.auc_bond"),
        ({"thresholds": {"auc_band": "0.1"}}, "thresholds.auc_band"),
        ({"thresholds": {"auc_band": True}}, "thresholds.auc_band"),
        ({"thresholds": {"auc_band": math.nan}}, "thresholds.auc_band"),
        ({"thresholds": {"relearning_ratio": 10**400}}, "thresholds.relearning_ratio"),
        ({"budget": {"weeks": 3}}, "budget.weeks"),
        ({"budget": {"jobs": 2.5}}, "budget.jobs"),
        ({"budget": {"jobs": True}}, "budget.jobs"),
        ({"budget": {"days": math.inf}}, "budget.days"),
        ({"budget": {"days": math.nan}}, "budget.days"),
        ({"budget": {"erased_share": 0}}, "budget.erased_share"),
        ({"budgets": None}, "budgets"),
    ],
)
def test_what_is_wrong_is_named(bad: dict[str, Any], where: str) -> None:
    with pytest.raises(Invalid) as caught:
        policy.merged({"inconclusive": "review"}, bad)
    [finding] = caught.value.details
    assert finding["where"] == where
    assert str(caught.value) == f"{where}: {finding['message']}"


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        policy.merged({}, {"inconclusive": "no", "budget": {"jobs": 0}, "extra": 1})
    assert [each["where"] for each in caught.value.details] == [
        *("inconclusive", "budget.jobs", "extra")
    ]
