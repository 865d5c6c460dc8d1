"""Losses whose gradients with respect to a model's outputs are known in closed form.

A loss on a hundred rows of ten logits costs autograd more in bookkeeping than in arithmetic;
these cost a third, and hold no graph, so that a compiler can take a whole step. Each is
checked against autograd in float64.

Shapes: B rows, C classes, K dimensions of z; E erased samples.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.vib import Output, vib_loss


class OutputGradient(NamedTuple):
    """A loss's gradients with respect to the outputs; None where it does not depend on one."""

    d_mu_BK: Tensor | None  # noqa: N815
    d_log_var_BK: Tensor | None  # noqa: N815
    d_logits_BC: Tensor | None  # noqa: N815


class Remember:
    """L_r, Eq. 2 of the paper (see `vib`): -log p(y|z) + beta * KL(p(z|x) || N(0, I))."""

    def __init__(self, labels_B: Tensor, beta: float) -> None:
        self._labels_B, self._beta = labels_B, beta

    def __call__(self, out: Output) -> Tensor:
        return vib_loss(out, self._labels_B, self._beta)

    def gradient(self, out: Output) -> OutputGradient:
        """d/dlogits = (p - onehot) / B; d/dmu = beta mu / BK; d/dlog_var = beta (var - 1) / 2BK."""
        labels_B1 = self._labels_B[:, None]
        rows, cells = len(labels_B1), out.mu_BK.numel()
        d_logits_BC = torch.softmax(out.logits_BC, dim=1)
        d_logits_BC.scatter_add_(1, labels_B1, torch.full_like(d_logits_BC[:, :1], -1.0))
        excess_BK = out.log_var_BK.exp().sub_(1.0)  # sigma^2 - 1
        return OutputGradient(
            out.mu_BK * (self._beta / cells),
            excess_BK.mul_(0.5 * self._beta / cells),
            d_logits_BC.div_(rows),
        )


class SoftTargets:
    """L_u = KL(t(e) || p(y|z)) for target probabilities t_EC, averaged over the erased samples.

    KL(t || p) = sum t log t - sum t log p, and the first term is fixed.
    """

    def __init__(self, t_EC: Tensor) -> None:
        self._t_EC = t_EC
        self._negative_entropy_E = -torch.special.entr(t_EC).sum(dim=1)

    def __call__(self, out: Output, e: Tensor) -> Tensor:
        cross = functional.cross_entropy(out.logits_BC, self._t_EC.index_select(0, e))
        loss: Tensor = cross + self._negative_entropy_E.index_select(0, e).mean()
        return loss

    def gradient(self, out: Output, e: Tensor) -> OutputGradient:
        """d/dlogits = (p - t) / B."""
        p_BC = torch.softmax(out.logits_BC, dim=1)
        d_logits_BC = p_BC.sub_(self._t_EC.index_select(0, e)).div_(len(e))
        return OutputGradient(None, None, d_logits_BC)
