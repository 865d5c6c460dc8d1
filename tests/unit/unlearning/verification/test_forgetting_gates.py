"""G1 to G3: passes what is exchangeable, fails in both directions, says when it cannot tell."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.unit.unlearning.verification.making import scores
from unlearning.verification.conformal_gate import conformal_gates
from unlearning.verification.distribution_gate import distribution_gates, ks_gate
from unlearning.verification.gate import Gate, holm, verdict_of
from unlearning.verification.membership_gate import membership_gates
from unlearning.verification.placements import auc, below, power_of_band
from unlearning.verification.thresholds import Thresholds

LIMITS = Thresholds()


def test_the_auc_is_scikit_learns_within_each_class() -> None:
    e, h = scores(80, shift=0.7, seed=1), scores(500, seed=2)
    found = auc(e.margin, e.labels, h.margin, h.labels)
    assert found is not None
    expected = 0.0
    for c in range(4):
        mine, others = e.margin[e.labels == c], h.margin[h.labels == c]
        truth = np.r_[np.ones(len(mine)), np.zeros(len(others))]
        expected += len(mine) / 80 * roc_auc_score(truth, np.r_[mine, others])
    assert found.value == pytest.approx(expected)


def test_delongs_error_is_the_spread_over_repetitions() -> None:
    values, errors = [], []
    for seed in range(150):
        e, h = scores(60, shift=0.5, seed=seed), scores(300, seed=1000 + seed)
        found = auc(e.margin, e.labels, h.margin, h.labels)
        assert found is not None
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


def test_ties_count_half() -> None:
    assert below(np.array([1.0]), np.array([0.0, 1.0, 1.0, 2.0]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("shift", "n", "verdict"),
    [(0.0, 600, "PASS"), (2.0, 600, "FAIL"), (-2.0, 600, "FAIL"), (0.0, 5, "INCONCLUSIVE")],
)
def test_g1_in_both_directions(shift: float, n: int, verdict: str) -> None:
    gates = membership_gates(scores(n, shift=shift, seed=3), scores(1500, seed=4), LIMITS)
    assert [g.verdict for g in gates] == [verdict, verdict]
    for gate in gates:
        assert gate.low <= gate.statistic <= gate.high


def test_g1_catches_what_only_the_representation_holds() -> None:
    e = scores(600, shift=3.0, seed=5)
    hidden = e.__class__(scores(600, seed=6, labels=e.labels).margin, e.representation, *_rest(e))
    gates = {g.name: g.verdict for g in membership_gates(hidden, scores(1500, seed=7), LIMITS)}
    assert gates == {"membership_margin": "PASS", "membership_representation": "FAIL"}


def _rest(e: object) -> tuple[object, ...]:
    return tuple(getattr(e, name) for name in ("labels", "right", "confidence", "mu"))


def test_classes_without_held_out_samples_are_left_out() -> None:
    e = scores(50, labels=np.full(50, 9), seed=8)
    assert membership_gates(e, scores(100, seed=9), LIMITS) == []
    assert distribution_gates(e, scores(100, seed=9), LIMITS) == []


def test_the_power_is_that_of_two_one_sided_tests() -> None:
    """About 79 erased samples for 80 % power at a band of 0.10, with many held-out ones."""
    null_error = np.sqrt((79 + 1000 + 1) / (12 * 79 * 1000))
    assert power_of_band(0.10, float(null_error)) == pytest.approx(0.8, abs=0.03)
    assert power_of_band(0.10, 0.3) == 0.0


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "PASS"), (1.5, "FAIL"), (-1.5, "FAIL")])
def test_g2_distribution(shift: float, verdict: str) -> None:
    gate = ks_gate(scores(200, shift=shift, seed=10), scores(1500, seed=11), LIMITS)
    assert gate.verdict == verdict
    assert gate.p_value is not None
    assert (gate.p_value < 0.01) == (verdict == "FAIL")


def test_g2_catches_a_spread_that_an_auc_cannot_see() -> None:
    narrow = scores(400, spread=0.3, seed=12)
    held = scores(1500, seed=13)
    assert ks_gate(narrow, held, LIMITS).verdict == "FAIL"
    found = auc(narrow.margin, narrow.labels, held.margin, held.labels)
    assert found is not None
    assert abs(found.value - 0.5) < 0.1


def test_g2_null_holds_where_a_class_has_more_erased_than_held_out_samples() -> None:
    failures = sum(
        ks_gate(
            scores(600, classes=1, seed=seed), scores(150, classes=1, seed=500 + seed), LIMITS, seed
        ).verdict
        == "FAIL"
        for seed in range(60)
    )
    assert failures <= 4


@pytest.mark.parametrize(
    ("right", "n", "verdict"),
    [(0.95, 400, "PASS"), (0.6, 400, "FAIL"), (1.0, 400, "FAIL"), (0.95, 8, "INCONCLUSIVE")],
)
def test_g2_accuracy_in_both_directions(right: float, n: int, verdict: str) -> None:
    held = scores(2000, right=0.90 if right == 1.0 else 0.95, seed=14)
    gates = distribution_gates(scores(n, right=right, seed=15), held, LIMITS)
    assert {g.name: g for g in gates}["erased_accuracy"].verdict == verdict


def test_g2_accuracy_of_a_few_samples_is_judged_by_exact_tails() -> None:
    """Two wrong answers of ten are within chance; a normal bound of three errors would fail."""
    held = scores(3000, right=0.97, classes=1, seed=14)
    few = scores(10, classes=1, seed=15)
    for wrong, verdict in ((2, "INCONCLUSIVE"), (6, "FAIL")):
        given = dataclasses.replace(few, right=np.arange(10) >= wrong)
        gate = {g.name: g for g in distribution_gates(given, held, LIMITS)}["erased_accuracy"]
        assert gate.verdict == verdict
        tail = stats.binom.cdf(round((gate.least + 0.97) * 10) - 1, 10, held.right.mean())
        assert tail < 0.002


def test_one_sample_at_the_very_end_proves_nothing() -> None:
    """Its AUC is 1, with no spread of its own: the null's error keeps it undecided."""
    held = scores(1000, classes=1, seed=1)
    alone = dataclasses.replace(scores(1, classes=1), margin=np.array([99.0]))
    gate = membership_gates(alone, held, LIMITS)[0]
    assert gate.statistic == 1.0
    assert gate.verdict == "INCONCLUSIVE"
    assert gate.detectable is None


def test_the_scale_of_g2_weighs_classes_as_the_erased_are() -> None:
    """A hundred samples of one class and one of another, of fifty held-out ones each."""
    labels = np.r_[np.zeros(100, dtype=int), 1]
    failures = 0
    for seed in range(60):
        e = scores(101, labels=labels, seed=seed)
        h = scores(400, labels=np.arange(400) % 4, seed=300 + seed)
        failures += ks_gate(e, h, LIMITS, seed).verdict == "FAIL"
    assert failures <= 4


@pytest.mark.parametrize("n", [1, 3, 10])
def test_the_null_of_g2_is_exact_for_few_samples_and_few_held_out_ones(n: int) -> None:
    """One sample beyond all 27 of its class is no rarity: 2 of 28 lie at an end."""
    failures = sum(
        ks_gate(
            scores(n, classes=1, seed=seed), scores(27, classes=1, seed=700 + seed), LIMITS, seed
        ).verdict
        == "FAIL"
        for seed in range(300)
    )
    assert failures <= 9, "1 % of 300, and room for chance"


def test_g3_counts_outliers_of_either_tail() -> None:
    held = scores(2000, seed=16)
    clean = scores(400, seed=17)
    assert {g.verdict for g in conformal_gates(clean, held, LIMITS)} == {"PASS"}
    margin = clean.margin.copy()
    margin[:30] = 50.0
    high = clean.__class__(margin, clean.representation, *_rest(clean))
    assert [g.verdict for g in conformal_gates(high, held, LIMITS)] == ["FAIL", "PASS"]
    low = clean.__class__(-margin + 1.5, clean.representation, *_rest(clean))
    assert conformal_gates(low, held, LIMITS)[1].verdict == "FAIL"


def test_g3_bound_is_beta_binomial_not_binomial() -> None:
    """With few held-out samples their own chance widens the bound; a binomial one would fail."""
    held, e = scores(150, classes=1, seed=18), scores(3000, classes=1, seed=19)
    gate = conformal_gates(e, held, LIMITS)[0]
    assert gate.most == pytest.approx(stats.betabinom.ppf(0.99, 3000, 1, 150), rel=0.1)
    assert gate.most > stats.binom.ppf(0.99, 3000, 0.01)


def test_g3_pools_classes_that_have_no_one_per_cent_tail() -> None:
    gates = conformal_gates(scores(40, seed=20), scores(300, seed=21), LIMITS)
    assert gates[0].detail["pooled_classes"] == [0, 1, 2, 3]
    assert conformal_gates(scores(40), scores(0), LIMITS) == []
    tiny = conformal_gates(scores(40, seed=20), scores(50, seed=22), LIMITS)
    assert [g.verdict for g in tiny] == ["PASS", "PASS"], "50 held-out samples have no 1 % tail"


def test_exchangeable_samples_rarely_fail_any_gate() -> None:
    failed = 0
    for seed in range(60):
        e, h = scores(150, seed=seed), scores(800, seed=2000 + seed)
        gates = membership_gates(e, h, LIMITS)
        gates += distribution_gates(e, h, LIMITS, seed) + conformal_gates(e, h, LIMITS)
        failed += verdict_of(holm(gates)) == "FAIL"
    assert failed <= 4, "5 % of 60 and room for chance"


def _gate(name: str, p_value: float | None, verdict: str = "FAIL") -> Gate:
    return Gate(name, name, "", 0, 0, 0, 0, 0, 1, verdict, p_value=p_value)  # type: ignore[arg-type]


def test_holm_steps_down_and_leaves_other_gates_alone() -> None:
    gates = [_gate("G1", 0.001), _gate("G2", 0.02), _gate("G3", 0.04), _gate("G5", None)]
    gates.append(_gate("G4", 0.9, "PASS"))
    after = holm(gates, level=0.05)
    # 0.001 <= 0.05/4; 0.02 > 0.05/3: it and what follows are not proven.
    assert [g.verdict for g in after] == ["FAIL", "INCONCLUSIVE", "INCONCLUSIVE", "FAIL", "PASS"]
    assert verdict_of(after) == "FAIL"
    assert verdict_of(after[1:3]) == "INCONCLUSIVE"
    assert verdict_of([]) == "PASS"


def test_gates_and_thresholds_are_plain_json() -> None:
    for gate in membership_gates(scores(30), scores(90, seed=1), LIMITS):
        assert json.loads(json.dumps(gate.to_dict()))["gate"] == "G1"
    assert Thresholds.from_dict(json.loads(json.dumps(LIMITS.to_dict()))) == LIMITS
    assert Thresholds.from_dict({"auc_band": 0.05}).auc_band == 0.05


@pytest.mark.parametrize(
    "bad", [{"auc_band": 0.0}, {"level": 2.0}, {"nonsense": 1}, {"relearning_ratio": "x"}]
)
def test_a_bad_threshold_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Thresholds.from_dict(bad)
