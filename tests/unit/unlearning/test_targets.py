"""The targets of the calibrated RFU-SS: what an unseen sample would be answered."""

# ruff: noqa: N806 - symbols carry their shapes

from __future__ import annotations

import pytest
import torch

from tests.unit.unlearning.conftest import TRIGGER, Scene, natural
from unlearning import class_accuracy, class_weighted_auc, margins
from unlearning.methods._targets import flag, make_targets, normal_scores, pool, ranks


def test_targets_are_probabilities_and_mask_wrong_labels(scene: Scene) -> None:
    targets = make_targets(scene.model, scene.problem, scene.teacher)
    torch.testing.assert_close(targets.t_EC.sum(1), torch.ones(len(scene.erased)))
    assert bool(targets.flagged_E.all())
    assert bool((targets.t_EC[:, TRIGGER.target] == 0).all())
    assert float((targets.class_E == TRIGGER.source).float().mean()) > 0.8
    assert targets.accuracy == 0.0


def test_natural_targets_are_as_hard_as_unseen_samples(scene: Scene) -> None:
    problem = natural(scene, 300)
    targets = make_targets(scene.model, problem, scene.teacher)
    assert not bool(targets.flagged_E.any())
    assert torch.equal(targets.class_E, problem.erased.labels)
    wanted = targets.t_EC.gather(1, problem.erased.labels[:, None])[:, 0].logit()
    own = margins(scene.model.logits(scene.references.images), scene.references.labels)
    found = class_weighted_auc(wanted, problem.erased.labels, own.float(), scene.references.labels)
    assert found.auc == pytest.approx(0.5, abs=0.08)
    by_class = torch.tensor(class_accuracy(scene.model, scene.references))
    expected = float(by_class[problem.erased.labels].mean())
    assert targets.accuracy == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("low", "n", "flagged"),
    [(4, 50, 0), (5, 50, 5), (5, 400, 0), (12, 400, 12), (30, 50, 50), (0, 3, 0), (3, 3, 0)],
)
def test_flags_need_more_than_chance_and_spread_when_most_are(
    low: int, n: int, flagged: int
) -> None:
    margin_FE = torch.full((5, n), 3.0)
    margin_FE[:, :low] = -9.0
    margin_FE[0] = -9.0  # one fold alone contradicts nothing
    assert int(flag(margin_FE, torch.linspace(-5.0, 8.0, 250)).sum()) == flagged


def test_ranks_of_unseen_samples_are_about_uniform_whatever_the_folds_share() -> None:
    """Fold scores share part of their variance; u must come out near uniform all the same."""
    g = torch.Generator().manual_seed(0)
    n, folds = 3000, 5
    shared = torch.randn(1, n, generator=g)
    margin_FE = 0.8 * shared + 0.6 * torch.randn(folds, n, generator=g)
    u = ranks(normal_scores(torch.randn(4000, generator=g), margin_FE)).sort().values
    uniform = (torch.arange(n) + 0.5) / n
    assert float((u - uniform).abs().max()) < 0.05


def test_a_pool_is_of_the_class_or_of_all_when_it_is_too_small() -> None:
    labels_R = torch.tensor([0] * 30 + [1] * 2)
    logits_RC = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    own = margins(logits_RC, labels_R)
    assert torch.equal(pool(logits_RC, labels_R, 0, 0), own[:30])
    assert torch.equal(pool(logits_RC, labels_R, 0, 1), -own[:30])
    assert torch.equal(pool(logits_RC, labels_R, 1, 1), own)
    assert torch.equal(pool(logits_RC, labels_R, 1, 0), own[30:].neg())
