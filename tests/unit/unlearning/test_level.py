"""The loss of ordinary samples: targets, and the level of unseen samples' margins."""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.unit.unlearning.conftest import Scene
from tests.unit.unlearning.test_rfu_ss import natural
from unlearning import margins, unlearn
from unlearning.methods._level import LevelTargets
from unlearning.methods._targets import Targets, make_targets
from unlearning.samples import Samples
from unlearning.vib import Output


def _targets(labels_E: torch.Tensor, flagged_E: torch.Tensor) -> Targets:
    n = len(labels_E)
    t_EC = torch.randn(n, 3, dtype=torch.float64, generator=torch.manual_seed(0)).softmax(1)
    level_E = torch.linspace(-1.0, 8.0, n, dtype=torch.float64)
    rank_E = torch.full((n,), 0.5, dtype=torch.float64)
    return Targets(t_EC, flagged_E, labels_E, level_E, rank_E, n, 1.0, False, False)


def _outputs(n: int) -> Output:
    g = torch.Generator().manual_seed(1)
    return Output(*(torch.randn(n, w, generator=g, dtype=torch.float64) for w in (4, 4, 3)))


@pytest.mark.parametrize("noise", [0, 2, 5])
def test_its_closed_form_is_autograds(noise: int) -> None:
    """Clipped rows, repeated ones and noise included."""
    labels_E = torch.tensor([0, 2, 1, 1, 0])
    flagged_E = torch.arange(5) >= 5 - noise
    references = Samples(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))
    loss = LevelTargets(_targets(labels_E, flagged_E), labels_E, references, 0.7, 0)
    loss._kept_E = loss._kept_E.double()
    e = torch.tensor([4, 0, 1, 4, 2, 3])
    leaves = Output(*(part.requires_grad_() for part in _outputs(6)))
    wanted = torch.autograd.grad(loss(leaves, e), leaves, allow_unused=True)
    for ours, theirs in zip(loss.gradient(_outputs(6), e), wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_it_follows_the_model_and_not_its_statistics(scene: Scene) -> None:
    problem = natural(scene, 60)
    targets = make_targets(scene.model, problem, scene.teacher)
    labels_E = problem.erased.labels
    loss = LevelTargets(targets, labels_E, problem.references, 0.2, 3)
    model = scene.model.train()
    first = loss.tensors()["level"]
    loss.follow(model, 1)
    assert model.training
    assert loss.tensors()["level"] is first, "a captured graph and a snapshot hold this tensor"
    margin_R = margins(model.eval().logits(problem.references.images), problem.references.labels)
    for c in labels_E.unique():
        of_class = margin_R[problem.references.labels == c]
        assert bool((first[labels_E == c] <= of_class.max() + 2.0).all())
        assert bool((first[labels_E == c] >= of_class.min() - 2.0).all())


def test_large_margins_are_brought_down(scene: Scene) -> None:
    """Without the term a KL between probabilities that are near one leaves them."""
    problem = natural(scene, 120)
    labels, images = problem.erased.labels, problem.erased.images
    held = scene.held_out
    unseen = float(margins(scene.model.logits(held.images), held.labels).median())
    above = {}
    for level in (0.0, 0.2):
        outcome = unlearn(scene.model, problem, config={"level": level, "steps": 300})
        after = margins(outcome.model.logits(images), labels).median()
        now = margins(outcome.model.logits(held.images), held.labels).median()
        above[level] = float(after - now)
    assert above[0.2] < above[0.0]
    assert unseen > 0


def test_ordinary_samples_are_ranked_a_little_lower_and_wrong_labels_are_not(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = natural(scene, 100)
    harder = make_targets(scene.model, problem, scene.teacher)
    monkeypatch.setattr("unlearning.methods._targets._HARDER", 0.0)
    plain = make_targets(scene.model, problem, scene.teacher)
    apart = torch.special.ndtri(plain.rank_E) - torch.special.ndtri(harder.rank_E)
    torch.testing.assert_close(apart, torch.full_like(apart, 0.18 * 100 / 250), atol=1e-3, rtol=0)
    wrong = replace(
        problem, erased=Samples(problem.erased.images, (problem.erased.labels + 1) % 10)
    )
    without = make_targets(scene.model, wrong, scene.teacher).rank_E
    monkeypatch.undo()
    torch.testing.assert_close(make_targets(scene.model, wrong, scene.teacher).rank_E, without)
