"""How far a model is from one that was retrained without the erased samples.

Only inside a job, while the erased samples still exist, or in an experiment.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.vib import VIB


def output_kl(retrained: VIB, model: VIB, images: Tensor) -> float:
    """KL(p_retrained(y|x) || p_model(y|x)) at z = mu, in nats, averaged over images [N, C, H, W].

    Raises ValueError for no images.
    """
    _check(images)
    p = functional.log_softmax(retrained.logits(images).double(), dim=1)
    q = functional.log_softmax(model.logits(images).double(), dim=1)
    return float((p.exp() * (p - q)).sum(dim=1).mean())


@torch.no_grad()
def representation_kl(retrained: VIB, model: VIB, images: Tensor, chunk: int = 4096) -> float:
    """KL(p_retrained(z|x) || p_model(z|x)) of diagonal Gaussians, in nats, averaged over images
    and over the dimensions of z.

    The measure of the unlearning paper (IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239). It does
    not discriminate: two retrainings from different fresh weights are far apart, for nothing
    ties the axes of z. Kept for comparison. Raises ValueError for no images.
    """
    _check(images)
    total = 0.0
    for part in torch.split(images, chunk):
        p = retrained.eval()(retrained.prepare(part.to(retrained.device)))
        q = model.eval()(model.prepare(part.to(model.device)))
        ratio = (p.log_var_BK - q.log_var_BK).double().exp()
        apart = (p.mu_BK - q.mu_BK).double().square() / q.log_var_BK.double().exp()
        kl = 0.5 * (ratio + apart - 1.0 + q.log_var_BK - p.log_var_BK)
        total += float(kl.mean(dim=1).sum())
    return total / len(images)


def _check(images: Tensor) -> None:
    if len(images) == 0:
        raise ValueError("a distance needs at least one image")
