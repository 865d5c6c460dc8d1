"""Measures against code that shares nothing with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.unit.unlearning.conftest import TRIGGER, Scene, tiny_samples
from unlearning import (
    accuracy,
    class_accuracy,
    class_weighted_auc,
    margins,
    membership_auc,
    trigger_rates,
)
from unlearning.methods._stop import class_weighted_ks


def test_a_margin_is_the_log_odds_of_its_label() -> None:
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(20) % 5
    p = logits.softmax(1)[torch.arange(20), labels]
    torch.testing.assert_close(margins(logits, labels), (p / (1 - p)).log())


def test_the_auc_is_scikit_learns_in_each_class() -> None:
    rng = np.random.default_rng(0)
    e, r = rng.normal(0.3, 1, 60).round(1), rng.normal(0, 1, 150).round(1)  # with ties
    labels_e, labels_r = rng.integers(0, 3, 60), rng.integers(0, 4, 150)
    found = class_weighted_auc(*(torch.from_numpy(a) for a in (e, labels_e, r, labels_r)))
    expected = sum(
        (labels_e == c).mean()
        * roc_auc_score(
            np.r_[np.ones((labels_e == c).sum()), np.zeros((labels_r == c).sum())],
            np.r_[e[labels_e == c], r[labels_r == c]],
        )
        for c in range(3)
    )
    assert found.auc == pytest.approx(expected)
    assert found.erased == 60
    assert found.held_out == int((labels_r < 3).sum())


def test_the_standard_error_is_that_of_chance() -> None:
    g = torch.Generator().manual_seed(0)
    zeros, many = torch.zeros(40, dtype=torch.int64), torch.zeros(90, dtype=torch.int64)
    runs = [
        class_weighted_auc(torch.rand(40, generator=g), zeros, torch.rand(90, generator=g), many)
        for _ in range(600)
    ]
    spread = float(np.std([run.auc for run in runs]))
    assert spread == pytest.approx(runs[0].standard_error, rel=0.12)


def test_classes_without_held_out_samples_are_left_out() -> None:
    e, labels_e = torch.tensor([1.0, 5.0]), torch.tensor([0, 1])
    found = class_weighted_auc(e, labels_e, torch.tensor([0.0, 2.0]), torch.tensor([0, 0]))
    assert (found.auc, found.erased, found.held_out) == (0.5, 1, 2)
    with pytest.raises(ValueError, match="held-out samples"):
        class_weighted_auc(e, labels_e, torch.tensor([0.0]), torch.tensor([2]))


def test_membership_of_a_model(tiny: Scene) -> None:
    same = membership_auc(tiny.model, tiny.held_out, tiny.held_out)
    assert same.auc == pytest.approx(0.5)
    with pytest.raises(ValueError, match="held-out"):
        membership_auc(tiny.model, tiny.erased, tiny_samples(0))


def test_kolmogorov_smirnov_is_scipys_in_one_class() -> None:
    rng = np.random.default_rng(1)
    e, r = rng.normal(0.4, 1, 50).round(1), rng.normal(0, 1, 120).round(1)
    zeros = [torch.zeros(n, dtype=torch.int64) for n in (50, 120)]
    upper, lower, effective = class_weighted_ks(
        torch.from_numpy(e), zeros[0], torch.from_numpy(r), zeros[1]
    )
    assert upper == pytest.approx(stats.ks_2samp(e, r, alternative="greater").statistic, abs=1e-6)
    assert lower == pytest.approx(stats.ks_2samp(e, r, alternative="less").statistic, abs=1e-6)
    assert effective == pytest.approx(120, rel=1e-4)


def test_kolmogorov_smirnov_weighs_the_classes_as_erased() -> None:
    """Classes far apart, erased mostly from one: unweighted, they would seem to differ."""
    r = torch.cat([torch.arange(100.0), 1000 + torch.arange(100.0)])
    labels_r = torch.arange(200) // 100
    e = torch.cat([torch.arange(100.0), 1000 + torch.arange(0.0, 100.0, 5)])
    labels_e = (e >= 1000).long()
    upper, lower, effective = class_weighted_ks(e, labels_e, r, labels_r)
    assert max(upper, lower) < 0.02
    assert effective < 200


def test_accuracy_is_the_share_that_is_right(tiny: Scene) -> None:
    predicted = tiny.model.predict(tiny.held_out.images).label_B
    expected = float((predicted == tiny.held_out.labels).float().mean())
    assert accuracy(tiny.model, tiny.held_out) == pytest.approx(expected)
    only_two = tiny.held_out[tiny.held_out.labels != 1]
    found = class_accuracy(tiny.model, only_two)
    assert math.isnan(found[1])
    assert (found[0] + found[2]) / 2 == pytest.approx(accuracy(tiny.model, only_two))
    for measure in (accuracy, class_accuracy):
        with pytest.raises(ValueError, match="no samples"):
            measure(tiny.model, tiny_samples(0))


def test_trigger_rates_count_source_samples_only(scene: Scene) -> None:
    rates = trigger_rates(scene.model, scene.held_out, TRIGGER)
    assert rates.samples == int((scene.held_out.labels == 1).sum())
    assert rates.success + rates.undone <= 1.0
    with pytest.raises(ValueError, match="source class 1"):
        trigger_rates(scene.model, scene.held_out[scene.held_out.labels != 1], TRIGGER)
