"""Gradients of two objectives on two groups of rows of one batch, from one forward pass.

The first m rows are the forgetting objective's, the others the remembering one's. Where rows
do not meet (dense layers), each layer's gradient is a sum over rows, so that one backward
pass gives both: the rows of the upstream gradient are split, dW_u = dY_u^T X_u and
dW_r = dY_r^T X_r. Where rows meet (batch normalisation), two backward passes share a graph.

Shapes: B rows, m of them for forgetting; P pixels, H hidden units, K dimensions of z, A hidden
units of the approximator, C classes; D parameters; g_2D has the rows g_u and g_r.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from unlearning._flat import FlatParameters
from unlearning.vib import VIB, Output

Losses = Callable[[Output, Output], tuple[Tensor, Tensor]]
"""(L_u, L_r) from the outputs on the first m rows and on the others, in nats."""


class TwoGradients(Protocol):
    """g_2D: both gradients, overwritten by each call."""

    g_2D: Tensor  # noqa: N815

    def __call__(
        self, x: Tensor, noise_BK: Tensor, m: int, losses: Losses
    ) -> tuple[Tensor, Tensor]:
        """The losses for prepared images x and fill g_2D. An objective without rows has
        gradient 0 and is not asked for.
        """
        ...


def two_gradients(model: VIB, flat: FlatParameters) -> TwoGradients:
    """The fastest way that `model` allows; `flat` holds its parameters."""
    return (
        DenseGradients(model, flat) if model.architecture.kind == "mlp" else Autograd(model, flat)
    )


class Autograd:
    """Two backward passes through one graph: for any model."""

    def __init__(self, model: VIB, flat: FlatParameters) -> None:
        self._model, self._flat = model, flat
        self.g_2D = flat.theta_D.new_zeros(2, len(flat.theta_D))

    def __call__(
        self, x: Tensor, noise_BK: Tensor, m: int, losses: Losses
    ) -> tuple[Tensor, Tensor]:
        loss_u, loss_r = losses(*_split(self._model(x, noise_BK), m))
        both = 0 < m < len(x)
        if m > 0:
            self.g_2D[0] = self._flat.gradient(loss_u, keep_graph=both)
        if m < len(x):
            self.g_2D[1] = self._flat.gradient(loss_r)
        return loss_u.detach(), loss_r.detach()


class DenseGradients:
    """One hand-written backward pass through the dense VIB; tested against autograd."""

    def __init__(self, model: VIB, flat: FlatParameters) -> None:
        representer = cast(nn.Sequential, model.representer)
        layers = [representer[1], representer[3], model.approximator[0], model.approximator[2]]
        self._weights = [cast(nn.Linear, layer).weight.detach() for layer in layers]
        self._biases = [cast(nn.Linear, layer).bias.detach() for layer in layers]
        self.g_2D = flat.theta_D.new_zeros(2, len(flat.theta_D))
        # Views into g_2D for each layer's weight and bias, in the order of model.parameters().
        self._into: list[tuple[Tensor, Tensor]] = []
        start = 0
        for weight, bias in zip(self._weights, self._biases, strict=True):
            middle, end = start + weight.numel(), start + weight.numel() + bias.numel()
            self._into.append(
                (self.g_2D[:, start:middle].view(2, *weight.shape), self.g_2D[:, middle:end])
            )
            start = end

    def __call__(
        self, x: Tensor, noise_BK: Tensor, m: int, losses: Losses
    ) -> tuple[Tensor, Tensor]:
        w1_HP, w2_2KH, w3_AK, w4_CA = self._weights
        b1_H, b2_2K, b3_A, b4_C = self._biases
        with torch.no_grad():
            x_BP = x.flatten(1)
            h_BH = torch.addmm(b1_H, x_BP, w1_HP.T).relu_()
            mu_BK, log_var_BK = torch.addmm(b2_2K, h_BH, w2_2KH.T).chunk(2, dim=1)
            noisy_BK = torch.exp(0.5 * log_var_BK).mul_(noise_BK)  # sigma * noise = z - mu
            z_BK = mu_BK + noisy_BK
            a_BA = torch.addmm(b3_A, z_BK, w3_AK.T).relu_()
            logits_BC = torch.addmm(b4_C, a_BA, w4_CA.T)
        out = Output(mu_BK, log_var_BK, logits_BC)
        loss_u, loss_r, (d_mu_BK, d_log_var_BK, d_logits_BC) = _output_gradients(out, m, losses)
        with torch.no_grad():
            self._collect(3, d_logits_BC, a_BA, m)
            d_a_BA = (d_logits_BC @ w4_CA).mul_(a_BA > 0)
            self._collect(2, d_a_BA, z_BK, m)
            d_z_BK = d_a_BA @ w3_AK
            d_2K = torch.cat(  # dz/dmu = 1, dz/dlog_var = sigma * noise / 2
                [d_mu_BK + d_z_BK, torch.addcmul(d_log_var_BK, d_z_BK, noisy_BK, value=0.5)], dim=1
            )
            self._collect(1, d_2K, h_BH, m)
            d_h_BH = (d_2K @ w2_2KH).mul_(h_BH > 0)
            self._collect(0, d_h_BH, x_BP, m)
        return loss_u, loss_r

    def _collect(self, layer: int, d_out: Tensor, into: Tensor, m: int) -> None:
        """dW = dY^T X and db = sum of dY, for each group of rows."""
        weight_2, bias_2 = self._into[layer]
        for which, rows in enumerate((slice(0, m), slice(m, None))):
            if len(d_out[rows]):
                torch.mm(d_out[rows].T, into[rows], out=weight_2[which])
                torch.sum(d_out[rows], dim=0, out=bias_2[which])


def _split(out: Output, m: int) -> tuple[Output, Output]:
    return Output(*(part[:m] for part in out)), Output(*(part[m:] for part in out))


def _output_gradients(out: Output, m: int, losses: Losses) -> tuple[Tensor, Tensor, Output]:
    """Both losses, and the gradient of each with respect to its own rows of the outputs."""
    leaves = [Output(*(part.detach().requires_grad_() for part in rows)) for rows in _split(out, m)]
    loss_u, loss_r = losses(*leaves)
    flat = [*leaves[0], *leaves[1]]
    found = torch.autograd.grad(loss_u + loss_r, flat, allow_unused=True, materialize_grads=True)
    rows = [torch.cat(pair) for pair in zip(found[:3], found[3:], strict=True)]
    return loss_u.detach(), loss_r.detach(), Output(*rows)
