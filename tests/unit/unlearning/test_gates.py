"""The gates: each fails in both directions it guards, and says when it cannot decide."""

from __future__ import annotations

import json

import pytest
import torch
from scipy import stats

from unlearning import PRESETS, Samples, initialise
from unlearning.verification.gates import (
    Gate,
    Thresholds,
    contradicted_gate,
    correct,
    erased_gate,
    trigger_gate,
    utility_gate,
    verdict_of,
)
from unlearning.verification.trigger import TriggerRates

LIMITS = Thresholds()


def _right(right: int, n: int) -> torch.Tensor:
    return torch.arange(n) < right


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(9700, 9700, "PASS"), (9700, 9800, "PASS"), (9700, 9690, "PASS"), (9700, 9500, "FAIL")],
)
def test_utility_fails_only_when_the_loss_is_beyond_doubt(
    before: int, after: int, verdict: str
) -> None:
    gate = utility_gate(_right(before, 10_000), _right(after, 10_000), LIMITS)
    assert gate.verdict == verdict
    assert gate.statistic == pytest.approx((before - after) / 10_000)
    assert gate.low <= gate.statistic <= gate.high


def test_utilitys_bound_is_that_of_a_paired_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(500, generator=generator) < 0.9
    after = torch.rand(500, generator=generator) < 0.85
    gate = utility_gate(before, after, LIMITS)
    difference = (before.double() - after.double()).numpy()
    error = stats.sem(difference, ddof=0)
    assert gate.high - gate.statistic == pytest.approx(1.645 * error)


def test_a_handful_of_utility_samples_cannot_fail_by_one_of_them() -> None:
    assert utility_gate(_right(20, 20), _right(19, 20), LIMITS).verdict == "PASS"


def _erased(erased_right: int, n: int, held_right: int, m: int) -> Gate:
    return erased_gate(
        _right(erased_right, n),
        torch.zeros(n, dtype=torch.long),
        _right(held_right, m),
        torch.zeros(m, dtype=torch.long),
        LIMITS,
    )


@pytest.mark.parametrize(
    ("right", "verdict"),
    [(300, "PASS"), (294, "PASS"), (288, "PASS"), (240, "FAIL"), (0, "FAIL")],
)
def test_doing_much_worse_on_the_erased_fails(right: int, verdict: str) -> None:
    assert _erased(right, 300, 2940, 3000).verdict == verdict


def test_doing_much_better_on_the_erased_fails_too() -> None:
    assert _erased(300, 300, 2400, 3000).verdict == "FAIL"


def test_few_samples_decide_nothing_unless_they_are_far_out() -> None:
    assert _erased(10, 10, 970, 1000).verdict == "INCONCLUSIVE"
    assert _erased(0, 10, 970, 1000).verdict == "FAIL"


def test_classes_are_weighted_as_in_the_erased_set() -> None:
    """All erased samples are of a hard class; the easy class must not enter the comparison."""
    held_labels = torch.tensor([0] * 1000 + [1] * 1000)
    held_right = torch.cat([_right(1000, 1000), _right(600, 1000)])
    gate = erased_gate(
        _right(60, 100), torch.ones(100, dtype=torch.long), held_right, held_labels, LIMITS
    )
    assert gate.statistic == pytest.approx(0.0)
    assert gate.verdict == "PASS"


def test_a_class_without_held_out_samples_is_left_out_and_counted() -> None:
    labels = torch.tensor([0] * 50 + [7] * 50)
    gate = erased_gate(
        _right(50, 100), labels, _right(98, 100), torch.zeros(100, dtype=torch.long), LIMITS
    )
    assert gate.samples == 50


@pytest.mark.parametrize(
    ("given", "n", "verdict"),
    [
        (0, 100, "PASS"),
        (2, 100, "PASS"),
        (9, 100, "INCONCLUSIVE"),
        (50, 100, "FAIL"),
        (0, 5, "INCONCLUSIVE"),
    ],
)
def test_contradicted_labels_must_not_be_given_any_more(given: int, n: int, verdict: str) -> None:
    gate = contradicted_gate(_right(given, n), LIMITS)
    assert gate.verdict == verdict
    assert 0.0 <= gate.low <= gate.statistic <= gate.high <= 1.0


@pytest.mark.parametrize(
    ("success", "clean", "verdict"),
    [(0.0, 0.0, "PASS"), (0.12, 0.05, "PASS"), (0.3, 0.0, "FAIL"), (1.0, 0.01, "FAIL")],
)
def test_a_trigger_must_work_no_oftener_than_by_chance(
    success: float, clean: float, verdict: str
) -> None:
    gate = trigger_gate(TriggerRates(success=success, undone=0.0, samples=1000), clean, LIMITS)
    assert gate.verdict == verdict


def test_the_interval_of_a_rate_is_wilsons() -> None:
    gate = contradicted_gate(_right(7, 60), LIMITS)
    expected = stats.binomtest(7, 60).proportion_ci(confidence_level=0.90, method="wilson")
    assert gate.low == pytest.approx(expected.low, abs=2e-4)
    assert gate.high == pytest.approx(expected.high, abs=2e-4)


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["PASS", "PASS"], "PASS"),
        (["PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "FAIL"], "FAIL"),
        ([], "PASS"),
    ],
)
def test_one_failing_gate_fails_all(verdicts: list[str], verdict: str) -> None:
    gates = [Gate("g", "w", 0, 0, 0, 0, 1, v) for v in verdicts]  # type: ignore[arg-type]
    assert verdict_of(gates) == verdict


def test_a_gate_is_plain_json() -> None:
    gate = contradicted_gate(_right(1, 60), LIMITS)
    assert json.loads(json.dumps(gate.to_dict()))["name"] == "contradicted_labels"


def test_correct_says_which_samples_get_their_label() -> None:
    model = initialise(PRESETS["digits-mlp"].architecture((1, 8, 8), 10), seed=0)
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    given = model.logits(images).argmax(dim=1)
    labels = given.clone()
    labels[3] = (labels[3] + 1) % 10
    assert correct(model, Samples(images, labels)).tolist() == [True, True, True, False, True, True]
