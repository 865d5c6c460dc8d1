"""Membership: do scores on erased samples differ from those on held-out ones?

The score is the margin z_y - logsumexp of the other logits, at z = mu(x): the log-odds
of the label (Carlini et al., "Membership Inference Attacks From First Principles", IEEE
S&P 2022, section V, use the same after averaging). Compared class by class, because a
request is rarely spread over the classes as the held-out samples are.

Shapes: n scores of erased samples, m of held-out ones, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.samples import Samples
from unlearning.vib import VIB


@dataclass(frozen=True)
class Membership:
    """auc: the chance that an erased sample scores above a held-out one of its class (ties
    half); 0.5 when they cannot be told apart. standard_error: of the AUC when they cannot.
    erased, held_out: the samples that could be compared (those of classes with both).
    """

    auc: float
    standard_error: float
    erased: int
    held_out: int


def margins(logits_BC: Tensor, labels_B: Tensor) -> Tensor:  # noqa: N803
    """z_y - logsumexp of the other logits, in nats, [B]."""
    chosen = logits_BC.gather(1, labels_B[:, None])
    others = logits_BC.scatter(1, labels_B[:, None], -math.inf)
    return chosen[:, 0] - others.logsumexp(dim=1)


def class_weighted_auc(
    erased_n: Tensor, erased_labels_n: Tensor, held_m: Tensor, held_labels_m: Tensor
) -> Membership:
    """Mann-Whitney's AUC within each class, averaged with the erased samples' class shares.

    The standard error is that of the null hypothesis: sqrt(sum of w_c^2 (n_c + m_c + 1) /
    (12 n_c m_c)). Raises ValueError when no class has samples of both.
    """
    total, count, held_count, variance = 0.0, 0, 0, 0.0
    for c in torch.unique(erased_labels_n).tolist():
        e = erased_n[erased_labels_n == c]
        h = held_m[held_labels_m == c].sort().values
        if len(h) == 0:
            continue
        below = torch.searchsorted(h, e, right=False) + torch.searchsorted(h, e, right=True)
        total += float(below.sum()) / (2 * len(h))
        variance += len(e) * (len(e) + len(h) + 1) / (12 * len(h))
        count += len(e)
        held_count += len(h)
    if count == 0:
        raise ValueError("membership needs held-out samples of an erased sample's class")
    return Membership(total / count, math.sqrt(variance) / count, count, held_count)


def membership_auc(model: VIB, erased: Samples, held_out: Samples) -> Membership:
    """The class-weighted AUC of `erased` against `held_out` under the model's margins.

    Raises ValueError when either is empty or they share no class.
    """
    if len(erased) == 0 or len(held_out) == 0:
        raise ValueError("membership needs erased samples and held-out ones")
    scores = []
    for samples in (erased, held_out):
        labels = samples.labels.to(model.device)
        scores += [margins(model.logits(samples.images), labels), labels]
    return class_weighted_auc(*scores)
