"""Relearning: what a few steps on some of the erased samples bring back of the others.

Weights that still hold what was erased give it back sooner than weights that never had it
(Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020, section 6, ask
for the time to relearn). Only to be read beside the same figure of a retrained model.
"""

from __future__ import annotations

import torch

from unlearning._adam import Adam
from unlearning._flat import FlatParameters
from unlearning.samples import Samples
from unlearning.verification.utility import accuracy
from unlearning.vib import VIB, copy_model, vib_loss


def relearned(
    model: VIB,
    erased: Samples,
    *,
    share: float = 0.1,
    steps: int = 20,
    lr: float = 1e-3,
    seed: int = 0,
) -> float:
    """The share, 0..1, of the other erased samples that are given their erased label after
    `steps` full-batch Adam steps (at z = mu) on a random `share` of them, one at least.

    `model` is left as it is. Same seed, same bits on the CPU. Raises ValueError for fewer than
    two erased samples: one must be learned and another asked for.
    """
    n = len(erased)
    if n < 2:
        raise ValueError(f"relearning needs two erased samples or more, got {n}")
    taught = min(max(1, round(share * n)), n - 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(
        erased.labels.device
    )
    some = erased[order[:taught]].to(model.device)
    pupil = copy_model(model).eval()  # batch statistics stay as they are
    flat = FlatParameters(pupil)
    optimiser = Adam(flat.theta_D)
    x = pupil.prepare(some.images)
    for _ in range(steps):
        optimiser.step(flat.gradient(vib_loss(pupil(x), some.labels, 0.0)), lr)
    return accuracy(pupil, erased[order[taught:]])
