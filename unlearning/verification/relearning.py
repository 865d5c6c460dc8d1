"""Relearning: what a few steps on some of the erased samples bring back of the others.

Weights that still hold what was erased give it back sooner than weights that never had it
(Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020, section 6, ask
for the time to relearn). `relearned` is only to be read beside the same figure of a retrained
model; the gate G8 compares with samples that nobody has seen.
"""

from __future__ import annotations

import torch

from unlearning._adam import Adam
from unlearning._flat import FlatParameters
from unlearning.samples import Samples
from unlearning.verification.utility import accuracy
from unlearning.vib import VIB, copy_model, vib_loss

SHARE = 0.1
"""Of the erased samples, those that are taught again."""


def parts(n: int, share: float = SHARE, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of n samples are taught, drawn at random, and the rest, int64 indices.

    One at least of each. Raises ValueError for fewer than two samples: one must be learned and
    another asked for.
    """
    if n < 2:
        raise ValueError(f"relearning needs two erased samples or more, got {n}")
    taught = min(max(1, round(share * n)), n - 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[:taught], order[taught:]


def teach(model: VIB, some: Samples, *, steps: int = 20, lr: float = 1e-3) -> VIB:
    """A copy of the model after `steps` full-batch Adam steps (Kingma and Ba 2015) on the
    cross-entropy of these samples at z = mu. The model is left as it is."""
    some = some.to(model.device)
    pupil = copy_model(model).eval()  # batch statistics stay as they are
    flat = FlatParameters(pupil)
    optimiser = Adam(flat.theta_D)
    x = pupil.prepare(some.images)
    for _ in range(steps):
        optimiser.step(flat.gradient(vib_loss(pupil(x), some.labels, 0.0)), lr)
    return pupil


def relearned(
    model: VIB,
    erased: Samples,
    *,
    share: float = SHARE,
    steps: int = 20,
    lr: float = 1e-3,
    seed: int = 0,
) -> float:
    """The share, 0..1, of the other erased samples that are given their erased label once the
    model has been taught a random `share` of them (`parts`, `teach`).

    Same seed, same bits on the CPU. Raises ValueError for fewer than two erased samples.
    """
    taught, rest = (part.to(erased.labels.device) for part in parts(len(erased), share, seed))
    return accuracy(teach(model, erased[taught], steps=steps, lr=lr), erased[rest])
