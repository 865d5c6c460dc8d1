"""The least differences that fail with 80 % power, against simulation through the gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from tests.unit.unlearning.verification.making import scores
from unlearning.verification.conformal_gate import conformal_gates
from unlearning.verification.distribution_gate import distribution_gates, ks_gate
from unlearning.verification.gate import Gate
from unlearning.verification.label_gates import canary_gate, trigger_gate
from unlearning.verification.membership_gate import membership_gates
from unlearning.verification.power import (
    TESTS,
    detectable_auc,
    detectable_count,
    detectable_gap,
    detectable_rate,
)
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.trigger import TriggerRates

LIMITS = Thresholds()
N, HELD, REPEATS = 100, 1000, 80


def _failing(draw: Callable[[int], Gate]) -> float:
    """The share that fails though corrected for as many tests as there can be."""
    gates = [draw(seed) for seed in range(REPEATS)]
    proven = [g.p_value is None or g.p_value <= LIMITS.level / TESTS for g in gates]
    return sum(g.verdict == "FAIL" and p for g, p in zip(gates, proven, strict=True)) / REPEATS


def _pair(seed: int):  # type: ignore[no-untyped-def]
    return scores(N, classes=1, seed=seed), scores(HELD, classes=1, seed=10_000 + seed)


def test_an_auc_that_is_found() -> None:
    a = detectable_auc(N, HELD, LIMITS.auc_band, LIMITS.level)
    assert a is not None
    shift = 2.0 * np.sqrt(2.0) * stats.norm.ppf(a)  # the scores' spread is 2

    def draw(seed: int) -> Gate:
        erased, held = _pair(seed)
        moved = dataclasses.replace(erased, margin=erased.margin + shift)
        return membership_gates(moved, held, LIMITS)[0]

    assert _failing(draw) == pytest.approx(0.8, abs=0.15)


def test_a_distance_that_is_found_with_that_power_or_more() -> None:
    def draw(seed: int) -> Gate:
        erased, held = _pair(seed)
        gate = ks_gate(erased, held, LIMITS, seed)
        assert gate.detectable is not None
        distance = gate.detectable / np.sqrt(N * HELD / (N + HELD))
        rng = np.random.default_rng(seed)
        upper = rng.random(N) < 0.5 + distance
        margin = 2.0 * stats.norm.ppf(np.where(upper, 0.5, 0.0) + rng.random(N) / 2.0)
        return ks_gate(dataclasses.replace(erased, margin=margin), held, LIMITS, seed)

    assert _failing(draw) >= 0.7


def test_an_accuracy_lost_that_is_found() -> None:
    def draw(seed: int) -> Gate:
        erased, held = _pair(seed)
        expected = held.right.mean()
        lost = distribution_gates(erased, held, LIMITS)[1].detectable
        assert lost is not None
        right = np.random.default_rng(seed).random(N) < expected + lost
        return distribution_gates(dataclasses.replace(erased, right=right), held, LIMITS)[1]

    assert _failing(draw) == pytest.approx(0.8, abs=0.15)


def test_outliers_that_are_found() -> None:
    def draw(seed: int) -> Gate:
        erased, held = _pair(seed)
        count = conformal_gates(erased, held, LIMITS)[0].detectable
        assert count is not None
        inside = np.clip(erased.margin, None, np.quantile(held.margin, 0.9))
        extreme = np.random.default_rng(seed).random(N) < count / N
        margin = np.where(extreme, 99.0, inside)
        return conformal_gates(dataclasses.replace(erased, margin=margin), held, LIMITS)[0]

    assert _failing(draw) == pytest.approx(0.8, abs=0.15)


def test_a_trigger_rate_that_is_found() -> None:
    def draw(seed: int) -> Gate:
        hits = np.random.default_rng(seed).binomial(N, rate) / N
        return trigger_gate(TriggerRates(hits, 0.0, N), 0.0, LIMITS)

    rate = trigger_gate(TriggerRates(0.0, 0.0, N), 0.0, LIMITS).detectable
    assert rate is not None
    assert _failing(draw) == pytest.approx(0.8, abs=0.15)


def test_more_samples_find_less_and_too_few_find_nothing() -> None:
    found = [detectable_auc(n, 3000, 0.1, 0.05) for n in (10, 30, 100, 300, 3600)]
    assert all(a is not None and b is not None and a > b for a, b in pairwise(found))
    assert detectable_auc(1, 3000, 0.1, 0.05) is None
    assert detectable_gap(2, 0.97, -0.99) is None
    assert detectable_count(3, 3.0) is None
    assert detectable_rate(2, 0.5, 0.05) is None
    assert canary_gate(np.zeros(4), np.arange(4) < 2, LIMITS).detectable is None
    assert canary_gate(np.zeros(40), np.arange(40) < 20, LIMITS).detectable == pytest.approx(
        detectable_rate(40, 0.5, 0.025)  # two-sided
    )
