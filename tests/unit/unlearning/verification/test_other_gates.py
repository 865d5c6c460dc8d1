"""G0 and G4 to G7: labels, canaries, utility, what remains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tests.unit.unlearning.verification.making import scores
from unlearning.verification.collateral_gates import (
    membership_rise_gate,
    neighbour_gate,
    scope_gate,
)
from unlearning.verification.contradictions import Contradictions
from unlearning.verification.gate import holm
from unlearning.verification.label_gates import (
    canary_gate,
    clopper_pearson,
    contradicted_gate,
    no_canaries_left,
    trigger_gate,
)
from unlearning.verification.nearest import nearest
from unlearning.verification.scores import Scores
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.trigger import TriggerRates
from unlearning.verification.utility_gates import utility_gates

LIMITS = Thresholds()


def _first_wrong(n: int, wrong: int) -> np.ndarray:
    return np.arange(n) < wrong


def _found(wrong_e: np.ndarray, wrong_h: np.ndarray, explained: int = 0) -> Contradictions:
    none_e, none_h = (np.zeros(len(w), dtype=np.int64) for w in (wrong_e, wrong_h))
    return Contradictions(wrong_e, wrong_h, wrong_e, wrong_h, none_e, none_h, explained)


@pytest.mark.parametrize(("given", "verdict"), [(0.0, "PASS"), (0.5, "FAIL"), (1.0, "FAIL")])
def test_g4_contradicted_labels(given: float, verdict: str) -> None:
    erased, held = scores(200, right=given, seed=1), scores(1000, seed=2)
    found = _found(_first_wrong(200, 190), _first_wrong(1000, 30))
    gate = contradicted_gate(erased, held, found, LIMITS)
    assert gate is not None
    assert gate.verdict == verdict


def test_g4_does_not_blame_hard_samples_whose_labels_are_right() -> None:
    """Without an excess there is nothing to judge; with one, hard samples raise the bound."""
    erased, held = scores(200, seed=1), scores(1000, seed=2)
    few = _found(_first_wrong(200, 6), _first_wrong(1000, 30), explained=6)
    assert contradicted_gate(erased, held, few, LIMITS) is None
    assert few.ordinary_E.all()
    assert few.ordinary_H.all()
    many = _found(_first_wrong(200, 60), _first_wrong(1000, 100), explained=30)
    gate = contradicted_gate(erased, held, many, LIMITS)
    assert gate is not None
    hard_rate = (held.right[:100].sum() + 1) / 102
    assert gate.most == pytest.approx(30 / 60 * hard_rate + LIMITS.trigger_rise)
    assert many.ordinary_E.sum() == 140
    assert many.ordinary_H.sum() == 900
    none_hard = _found(_first_wrong(200, 60), _first_wrong(1000, 0))
    gate = contradicted_gate(erased, held, none_hard, LIMITS)
    assert gate is not None
    assert gate.most == pytest.approx(LIMITS.trigger_rise)


def test_g4_does_not_fail_three_hard_samples_of_one_person() -> None:
    """One more than H explains, each rightly given its label, is no evidence of remembering."""
    erased, held = scores(10, right=1.0, seed=1), scores(1000, right=0.5, seed=2)
    found = _found(_first_wrong(10, 3), _first_wrong(1000, 30), explained=2)
    gate = contradicted_gate(erased, held, found, LIMITS)
    assert gate is not None
    assert holm([gate, *[dataclasses.replace(gate, p_value=0.5)] * 5])[0].verdict != "FAIL"


@pytest.mark.parametrize(
    ("success", "clean", "n", "verdict"),
    [
        (0.0, 0.0, 1000, "PASS"),
        (0.12, 0.05, 1000, "PASS"),
        (0.3, 0.0, 1000, "FAIL"),
        (0.0, 0.0, 10, "INCONCLUSIVE"),
    ],
)
def test_g4_trigger(success: float, clean: float, n: int, verdict: str) -> None:
    gate = trigger_gate(TriggerRates(success, 0.9, n), clean, LIMITS)
    assert gate.verdict == verdict
    assert gate.power is not None
    assert (gate.power > 0.5) == (n == 1000)


def test_the_interval_is_clopper_and_pearsons() -> None:
    for hits, n in ((0, 20), (3, 20), (20, 20)):
        expected = stats.binomtest(hits, n).proportion_ci(0.90, method="exact")
        assert clopper_pearson(hits, n, 0.90) == pytest.approx((expected.low, expected.high))


def test_g4_canaries_that_are_remembered_are_guessed() -> None:
    rng = np.random.default_rng(0)
    coins = rng.random(40) < 0.5
    remembered = canary_gate(coins * 5.0 + rng.normal(size=40), coins, LIMITS)
    assert remembered.verdict == "FAIL"
    assert remembered.detail["epsilon_lower_bound"] > 0.5
    forgotten = [canary_gate(rng.normal(size=40), coins, LIMITS).verdict for _ in range(60)]
    assert forgotten.count("FAIL") <= 6
    assert remembered.detail["caught"] == pytest.approx(1.0, abs=1e-5)
    assert 0.95 < (remembered.power or 0.0) < 1.0, "of those that never saw them, nearly all pass"
    four = canary_gate(np.zeros(4), coins[:4], LIMITS)
    assert (four.power, four.detail["caught"]) == (1.0, 0.0), "four coins can show nothing"


def test_g4_canaries_that_are_avoided_give_themselves_away_too() -> None:
    coins = np.arange(20) < 10
    gate = canary_gate(-5.0 * coins, coins, LIMITS)
    assert (gate.statistic, gate.verdict) == (0.0, "FAIL")
    assert gate.detail["epsilon_lower_bound"] > 0.5


def test_g4_canary_bounds_are_where_the_two_sided_test_turns() -> None:
    coins = np.arange(32) < 16
    for wrong in range(17):  # so many of each kind are ranked among the other's half
        scores = coins.astype(float)
        scores[:wrong] = 0.0
        scores[16 : 16 + wrong] = 1.0
        gate = canary_gate(scores, coins, LIMITS)
        assert gate.p_value == pytest.approx(stats.binomtest(32 - 2 * wrong, 32).pvalue)
        within = gate.least <= gate.statistic <= gate.most
        assert gate.verdict == ("PASS" if within else "FAIL")


def test_g4_canaries_that_were_never_learnt_show_nothing() -> None:
    rng = np.random.default_rng(0)
    coins = rng.random(40) < 0.5
    noise, known = rng.normal(size=40), coins * 5.0
    assert canary_gate(noise, coins, LIMITS, noise).verdict == "INCONCLUSIVE"
    learnt = canary_gate(noise, coins, LIMITS, known)
    assert learnt.verdict == "PASS"
    assert learnt.detail["guessed_before"] > 0.8
    assert canary_gate(known, coins, LIMITS, noise).verdict == "FAIL"


def test_g4_canaries_need_a_group_and_say_when_none_is_left() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        canary_gate(np.zeros(1), np.zeros(1, dtype=bool), LIMITS)
    assert no_canaries_left().verdict == "INCONCLUSIVE"


def _worse(given: Scores, share: float, seed: int = 0, label: int | None = None) -> Scores:
    """The same samples, a share of the right ones got wrong."""
    rng = np.random.default_rng(seed)
    lost = (rng.random(len(given)) < share) & ((given.labels == label) | (label is None))
    return dataclasses.replace(given, right=given.right & ~lost)


def _failing(gates: list[object]) -> set[str]:
    return {g.name for g in gates if g.verdict == "FAIL"}  # type: ignore[attr-defined]


def test_g5_passes_an_unharmed_model() -> None:
    before = scores(5000, seed=3)
    assert _failing(utility_gates(before, before, LIMITS)) == set()


def test_g5_fails_a_harmed_model_in_accuracy_and_drift() -> None:
    before = scores(5000, seed=3)
    assert _failing(utility_gates(before, _worse(before, 0.03), LIMITS)) >= {"accuracy", "drift"}


def test_g5_fails_when_small_losses_add_up() -> None:
    before = scores(5000, seed=3)
    after = _worse(before, 0.003)
    assert _failing(utility_gates(before, after, LIMITS)) == set()
    assert _failing(utility_gates(before, after, LIMITS, drift_so_far=0.012)) == {"drift"}


def test_g5_finds_the_one_class_that_pays() -> None:
    before = scores(5000, classes=10, seed=3)
    after = _worse(before, 0.08, label=7)
    gates = utility_gates(before, after, LIMITS)
    assert "worst_class" in _failing(gates)
    assert "class 7" in {g.name: g for g in gates}["worst_class"].what


def test_g5_fails_a_model_that_has_become_sure_of_itself() -> None:
    before = dataclasses.replace(scores(5000, seed=3), confidence=np.full(5000, 0.95))
    after = dataclasses.replace(before, confidence=np.full(5000, 0.999))
    assert _failing(utility_gates(before, after, LIMITS)) == {"calibration"}


def test_g5_bounds_are_those_of_a_paired_difference() -> None:
    before = scores(4000, seed=3)
    after = _worse(before, 0.02)
    gate = utility_gates(before, after, LIMITS)[0]
    difference = before.right.astype(float) - after.right
    expected = difference.mean() - 1.645 * stats.sem(difference)
    assert gate.low == pytest.approx(expected, abs=5e-4)


def test_g0_notices_copies_that_stay() -> None:
    remaining, held = scores(3000, seed=4), scores(1500, seed=5)
    clean = scores(100, seed=6)
    assert scope_gate(clean, held, remaining).verdict == "PASS"
    mu = clean.mu.copy()
    mu[:20] = remaining.mu[:20] + 1e-4
    assert scope_gate(dataclasses.replace(clean, mu=mu), held, remaining).verdict == "INCONCLUSIVE"


def test_g6_fails_when_the_neighbours_pay() -> None:
    erased, remaining = scores(100, seed=7), scores(3000, right=1.0, seed=8)
    assert neighbour_gate(erased, remaining, remaining, LIMITS).verdict == "PASS"
    chosen = np.unique(nearest(erased.mu, remaining.mu, 5)[0])
    right = remaining.right.copy()
    right[chosen[::5]] = False
    harmed = dataclasses.replace(remaining, right=right)
    assert neighbour_gate(erased, remaining, harmed, LIMITS).verdict == "FAIL"


def test_g6_fails_when_the_remaining_are_exposed() -> None:
    remaining, held = scores(3000, seed=9), scores(1500, seed=10)
    assert membership_rise_gate(remaining, remaining, held, held, LIMITS).verdict == "PASS"
    exposed = dataclasses.replace(remaining, margin=remaining.margin + 0.5)
    gate = membership_rise_gate(remaining, exposed, held, held, LIMITS)
    assert gate.verdict == "FAIL"
    assert gate.low > LIMITS.membership_rise
