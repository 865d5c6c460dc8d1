"""Models that look, by one measure, as if they had forgotten."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unlearning import VIB, Problem, copy_model, margins, vib_loss

_BATCH = 100

Forgetting = Callable[[VIB, Tensor, Tensor], Tensor]


def class_mean(before: VIB, problem: Problem, *, seed: int = 0, steps: int = 300) -> VIB:
    """Every erased sample gets the mean margin of its class's references: the AUC comes out near
    one half, while every one of them is still given its label."""
    references = problem.references
    classes = range(before.architecture.classes)

    def loss(model: VIB, x: Tensor, labels: Tensor) -> Tensor:
        there = margins(model.logits(references.images), references.labels)
        # The mean of what is right: a wrong answer's margin would drag it under 0.
        right = [there[(references.labels == c) & (there > 0)].mean() for c in classes]
        found = margins(model(x).logits_BC, labels)
        return functional.smooth_l1_loss(found, torch.stack(right)[labels])

    return _descend(before, problem, loss, seed, steps)


def over_forget(before: VIB, problem: Problem, *, seed: int = 0, steps: int = 100) -> VIB:
    """-log(1 - p) of the erased label, until it is given to none of them."""

    def loss(model: VIB, x: Tensor, labels: Tensor) -> Tensor:
        # 1 - p is the sigmoid of minus the margin.
        return functional.softplus(margins(model(x).logits_BC, labels)).mean()

    return _descend(before, problem, loss, seed, steps)


def _descend(before: VIB, problem: Problem, loss: Forgetting, seed: int, steps: int) -> VIB:
    """Adam on `loss` of the erased samples and Eq. 2 of the remaining ones, batch by batch."""
    model = copy_model(before).eval()
    drawn = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        erased, kept = (
            samples[torch.randint(len(samples), (_BATCH,), generator=drawn)]
            for samples in (problem.erased, problem.remaining)
        )
        optimiser.zero_grad()
        forgetting = loss(model, model.prepare(erased.images), erased.labels)
        remembering = vib_loss(model(model.prepare(kept.images)), kept.labels, 1e-3)
        (forgetting + remembering).backward()
        optimiser.step()
    return model
