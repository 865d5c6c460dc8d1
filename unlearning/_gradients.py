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
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from unlearning._closed_forms import OutputGradient
from unlearning._flat import FlatParameters
from unlearning._precision import forward
from unlearning.vib import VIB, Output


@dataclass(frozen=True)
class Objective:
    """loss: in nats, from the outputs on the objective's own rows. gradient: its gradients with
    respect to the outputs, where they are known in closed form.
    """

    loss: Callable[[Output], Tensor]
    gradient: Callable[[Output], OutputGradient] | None = None


class TwoGradients(Protocol):
    """g_2D: both gradients, overwritten by each call."""

    g_2D: Tensor  # noqa: N815

    def __call__(
        self,
        x: Tensor,
        noise_BK: Tensor,
        m: int,
        forget: Objective,
        remember: Objective,
        *,
        report: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """The losses for prepared images x, detached, and fill g_2D. An objective without rows
        has loss and gradient 0, and is not asked. Without `report` a loss may be 0: a gradient
        in closed form does not need it.
        """
        ...


def two_gradients(model: VIB, flat: FlatParameters, precision: str = "float32") -> TwoGradients:
    """The fastest way that `model` allows; `flat` holds its parameters."""
    if model.architecture.kind == "mlp":
        return DenseGradients(model, flat)
    return Autograd(model, flat, precision)


class Autograd:
    """Two backward passes through one graph: for any model."""

    def __init__(self, model: VIB, flat: FlatParameters, precision: str = "float32") -> None:
        self._model, self._flat, self._precision = model, flat, precision
        self.g_2D = flat.theta_D.new_zeros(2, len(flat.theta_D))

    def __call__(
        self,
        x: Tensor,
        noise_BK: Tensor,
        m: int,
        forget: Objective,
        remember: Objective,
        *,
        report: bool = True,  # noqa: ARG002 - its losses are there in any case
    ) -> tuple[Tensor, Tensor]:
        out_u, out_r = _split(forward(self._model, x, noise_BK, self._precision), m)
        loss_u = loss_r = noise_BK.new_zeros(())
        if m > 0:
            loss_u = forget.loss(out_u)
            self.g_2D[0] = self._flat.gradient(loss_u, keep_graph=m < len(x))
        if m < len(x):
            loss_r = remember.loss(out_r)
            self.g_2D[1] = self._flat.gradient(loss_r)
        return loss_u.detach(), loss_r.detach()


class Seen(NamedTuple):
    """What a forward pass leaves for the backward one; noisy_BK = sigma * noise = z - mu."""

    x_BP: Tensor  # noqa: N815
    h_BH: Tensor  # noqa: N815
    mu_BK: Tensor  # noqa: N815
    log_var_BK: Tensor  # noqa: N815
    noisy_BK: Tensor  # noqa: N815
    z_BK: Tensor  # noqa: N815
    a_BA: Tensor  # noqa: N815
    logits_BC: Tensor  # noqa: N815


class DenseGradients:
    """One hand-written backward pass through the dense VIB; tested against autograd.

    forward, backward: tensors in, tensors out, so that a compiled one may take their place.
    """

    def __init__(self, model: VIB, flat: FlatParameters) -> None:
        representer = cast(nn.Sequential, model.representer)
        layers = [representer[1], representer[3], model.approximator[0], model.approximator[2]]
        self._weights = [cast(nn.Linear, layer).weight.detach() for layer in layers]
        self._biases = [cast(nn.Linear, layer).bias.detach() for layer in layers]
        self.g_2D = flat.theta_D.new_zeros(2, len(flat.theta_D))
        # Views into g_2D for each layer, in the order of model.parameters(): of the weight for
        # either objective, and of the bias for both.
        self._into: list[tuple[Tensor, Tensor, Tensor]] = []
        start = 0
        for weight, bias in zip(self._weights, self._biases, strict=True):
            middle, end = start + weight.numel(), start + weight.numel() + bias.numel()
            of_u, of_r = self.g_2D[:, start:middle].view(2, *weight.shape).unbind()
            self._into.append((of_u, of_r, self.g_2D[:, middle:end]))
            start = end
        self._rows_2B = flat.theta_D.new_zeros(2, 0)  # which rows are whose
        self._m = 0
        self.forward = self._forward
        self.backward = self._backward

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        noise_BK: Tensor,
        m: int,
        forget: Objective,
        remember: Objective,
        *,
        report: bool = True,
    ) -> tuple[Tensor, Tensor]:
        if self._rows_2B.shape[1] != len(x) or self._m != m:
            self._rows_2B, self._m = _whose(m, len(x), noise_BK), m
        seen = self.forward(x.flatten(1), noise_BK)
        of_u, of_r = _split(Output(seen.mu_BK, seen.log_var_BK, seen.logits_BC), m)
        loss_u, u = _output_gradient(forget, of_u, report)
        loss_r, r = _output_gradient(remember, of_r, report)
        d_mu_BK, d_log_var_BK, d_logits_BC = (
            _joined(d_u, d_r, like, m)
            for d_u, d_r, like in zip(
                u, r, (seen.mu_BK, seen.log_var_BK, seen.logits_BC), strict=True
            )
        )
        if d_logits_BC is None:
            d_logits_BC = torch.zeros_like(seen.logits_BC)
        self.backward(seen, d_mu_BK, d_log_var_BK, d_logits_BC, m)
        return loss_u, loss_r

    def _forward(self, x_BP: Tensor, noise_BK: Tensor) -> Seen:
        w1_HP, w2_2KH, w3_AK, w4_CA = self._weights
        b1_H, b2_2K, b3_A, b4_C = self._biases
        h_BH = torch.addmm(b1_H, x_BP, w1_HP.T).relu_()
        mu_BK, log_var_BK = torch.addmm(b2_2K, h_BH, w2_2KH.T).chunk(2, dim=1)
        noisy_BK = torch.exp(0.5 * log_var_BK).mul_(noise_BK)
        z_BK = mu_BK + noisy_BK
        a_BA = torch.addmm(b3_A, z_BK, w3_AK.T).relu_()
        logits_BC = torch.addmm(b4_C, a_BA, w4_CA.T)
        return Seen(x_BP, h_BH, mu_BK, log_var_BK, noisy_BK, z_BK, a_BA, logits_BC)

    def _backward(
        self,
        seen: Seen,
        d_mu_BK: Tensor | None,
        d_log_var_BK: Tensor | None,
        d_logits_BC: Tensor,
        m: int,
    ) -> None:
        """Fill g_2D from the gradients of the outputs."""
        _, w2_2KH, w3_AK, w4_CA = self._weights
        self._collect(3, d_logits_BC, seen.a_BA, m)
        d_a_BA = torch.ops.aten.threshold_backward(d_logits_BC @ w4_CA, seen.a_BA, 0)
        self._collect(2, d_a_BA, seen.z_BK, m)
        d_z_BK = d_a_BA @ w3_AK
        # dz/dmu = 1, dz/dlog_var = sigma * noise / 2
        through_mu, through_log_var = d_z_BK, (0.5 * d_z_BK) * seen.noisy_BK
        if d_mu_BK is not None:
            through_mu = through_mu + d_mu_BK
        if d_log_var_BK is not None:
            through_log_var = through_log_var + d_log_var_BK
        d_B2K = torch.cat([through_mu, through_log_var], dim=1)
        self._collect(1, d_B2K, seen.h_BH, m)
        d_h_BH = torch.ops.aten.threshold_backward(d_B2K @ w2_2KH, seen.h_BH, 0)
        self._collect(0, d_h_BH, seen.x_BP, m)

    def _collect(self, layer: int, d_out: Tensor, into: Tensor, m: int) -> None:
        """dW = dY^T X and db = sum of dY, for each group of rows; 0 for a group without any."""
        weight_u, weight_r, bias_2 = self._into[layer]
        torch.mm(d_out[:m].T, into[:m], out=weight_u)
        torch.mm(d_out[m:].T, into[m:], out=weight_r)
        torch.mm(self._rows_2B, d_out, out=bias_2)


def _whose(m: int, rows: int, like: Tensor) -> Tensor:
    """[2, B]: 1 where a row is the forgetting objective's, and where it is the other's."""
    whose_2B = like.new_zeros(2, rows)
    whose_2B[0, :m] = 1.0
    whose_2B[1, m:] = 1.0
    return whose_2B


def _split(out: Output, m: int) -> tuple[Output, Output]:
    return Output(*(part[:m] for part in out)), Output(*(part[m:] for part in out))


def _output_gradient(
    objective: Objective, out: Output, report: bool
) -> tuple[Tensor, OutputGradient]:
    """A loss, detached, and its gradients with respect to its own rows of the outputs."""
    loss = out.mu_BK.new_zeros(())
    if len(out.mu_BK) == 0:
        return loss, OutputGradient(None, None, None)
    if objective.gradient is not None:
        return objective.loss(out) if report else loss, objective.gradient(out)
    with torch.enable_grad():
        leaves = Output(*(part.detach().requires_grad_() for part in out))
        loss = objective.loss(leaves)
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return loss.detach(), OutputGradient(*found)


def _joined(d_u: Tensor | None, d_r: Tensor | None, like: Tensor, m: int) -> Tensor | None:
    """The rows of both; zero where one objective says nothing, None where neither does."""
    if d_u is None and d_r is None:
        return None
    if d_u is None:
        d_u = torch.zeros_like(like[:m])
    if d_r is None:
        d_r = torch.zeros_like(like[m:])
    return torch.cat([d_u, d_r])
