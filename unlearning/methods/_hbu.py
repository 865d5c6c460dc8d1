"""HBU: forgetting by a damped Newton step, with Hessian-vector products and conjugate gradient.

The update is certified removal's (Guo, Goldstein, Hannun, van der Maaten, "Certified Data Removal
from Machine Learning Models", ICML 2020, Eq. 2), which is the influence function's (Koh and
Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017): what remains
would be at its minimum at

    theta + H_r^-1 * (n_e / n_r) * grad L(E),

with H_r the Hessian of the remaining samples' mean loss. It is taken anew at each step, on
minibatches, until few erased samples keep their label. No certificate is claimed: these hold for
convex losses and one step.

H_r + damping * I is solved by conjugate gradient that ends where it meets negative curvature, as
a network has it (Nocedal and Wright, "Numerical Optimization", 2006, Algorithm 7.1).

Shapes: D parameters.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unlearning._batches import EndlessBatches
from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning._flat import FlatParameters
from unlearning.methods._descent import Descent, descend
from unlearning.methods._erased_accuracy import ErasedAccuracy
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.presets import preset_for
from unlearning.samples import Samples
from unlearning.vib import VIB, Output, vib_loss
from unlearning.weighting import WEIGHTINGS, Weighting

RUNGS = 1
_TINY = 1e-30


@dataclass(frozen=True)
class HBUConfig:
    """Settings of HBU. Raises ValueError naming the bad field.

    steps: at most. stop_accuracy: it ends earlier when at most this share of the erased
    samples is given its label. erased_batch: samples whose gradient is taken in a step.
    hessian_batch: remaining samples whose Hessian. damping: what is added to its diagonal.
    iterations: of conjugate gradient, at most. lr: how much of a Newton step is taken.
    radius: the greatest norm of a step. beta: Eq. 2's. weighting: none (as published: forgetting
    alone), or one that sets remembering beside it, on remaining_batch samples.
    """

    steps: int = 50
    stop_accuracy: float = 0.05
    erased_batch: int = 500
    remaining_batch: int = 500
    hessian_batch: int = 1000
    damping: float = 0.1
    iterations: int = 10
    lr: float = 1.0
    radius: float = 0.5
    beta: float = 1e-3
    weighting: Weighting | None = None
    fixed_alpha: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch", "remaining_batch", "hessian_batch", "iterations"):
            check_int("HBUConfig", name, getattr(self, name), 1)
        for name in ("damping", "lr", "radius"):
            check_number("HBUConfig", name, getattr(self, name), above=0.0)
        check_number("HBUConfig", "beta", self.beta, least=0.0)
        for name in ("stop_accuracy", "fixed_alpha"):
            check_number("HBUConfig", name, getattr(self, name), least=0.0, most=1.0)
        if self.weighting is not None:
            check_choice("HBUConfig", "weighting", self.weighting, WEIGHTINGS)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> HBUConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(model: VIB) -> HBUConfig:
    """The defaults for `model`: the beta of the preset that its shape has."""
    return HBUConfig(beta=preset_for(model.architecture.input_shape).training.beta)


def hbu(model: VIB, problem: Problem, config: HBUConfig, run: Run) -> Outcome:
    """Forget on `model`, a copy of the caller's that is changed in place."""
    labels_E = problem.erased.labels

    def forget_loss(out: Output, e: Tensor) -> Tensor:
        return -functional.cross_entropy(out.logits_BC, labels_E.index_select(0, e))

    def newton(_theta_D: Tensor, flat: FlatParameters) -> Newton:
        return Newton(model, flat, problem.remaining, config, run.seed)

    alone = config.weighting is None
    settings = Descent(
        steps=config.steps,
        erased_batch=config.erased_batch,
        remaining_batch=0 if alone else config.remaining_batch,
        lr=config.lr,
        beta=config.beta,
        weighting="fixed" if config.weighting is None else config.weighting,
        fixed_alpha=1.0 if alone else config.fixed_alpha,
        clip=1e9,
        average=0.0,
        frozen_statistics=True,
        check_every=1,
    )
    stop = ErasedAccuracy(problem.erased, config.stop_accuracy)
    ended = descend(model, problem, settings, forget_loss, stop, run, update=newton)
    return stop.outcome("hbu", ended, run, [])


class Newton:
    """theta <- theta - lr * (H_r + damping * I)^-1 g, no longer than `radius`."""

    def __init__(
        self, model: VIB, flat: FlatParameters, remaining: Samples, config: HBUConfig, seed: int
    ) -> None:
        self._model, self._flat, self._remaining, self._config = model, flat, remaining, config
        self._batches = EndlessBatches(
            len(remaining), config.hessian_batch, seed, "Hessian", model.device
        )
        self._taken = torch.zeros((), dtype=torch.int64)

    def tensors(self) -> dict[str, Tensor]:
        """The number of steps taken, which names the next batch."""
        return {"taken": self._taken}

    def step(self, g_D: Tensor, lr: float) -> None:
        """Follow the gradient g_D through the Hessian of the next remaining samples."""
        r = self._batches[int(self._taken)]
        self._taken += 1
        times = hessian_vector_products(self._model, self._flat, self._remaining[r], self._config)
        d_D = conjugate_gradient(times, g_D, self._config.iterations)
        d_D.mul_(lr)
        d_D.mul_(self._config.radius / d_D.norm().clamp_min(self._config.radius))
        self._flat.theta_D.sub_(d_D)


def hessian_vector_products(
    model: VIB, flat: FlatParameters, samples: Samples, config: HBUConfig
) -> Callable[[Tensor], Tensor]:
    """v_D -> (H + damping * I) v, H the Hessian of Eq. 2 on `samples` at z = mu."""
    with torch.enable_grad():
        loss = vib_loss(model(model.prepare(samples.images)), samples.labels, config.beta)
        parts = torch.autograd.grad(loss, flat.parameters, create_graph=True)
        g_D = torch.cat([part.reshape(-1) for part in parts])

    def times(v_D: Tensor) -> Tensor:
        found = torch.autograd.grad(g_D, flat.parameters, v_D, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in found]).add_(v_D, alpha=config.damping)

    return times


def conjugate_gradient(times: Callable[[Tensor], Tensor], b_D: Tensor, iterations: int) -> Tensor:
    """An approximate solution d of A d = b from products with A, from d = 0.

    It ends before a direction of curvature 0 or less, and then gives what it has: b itself when
    that is the first one.
    """
    d_D, rest_D = torch.zeros_like(b_D), b_D.clone()
    along_D = rest_D.clone()
    square = rest_D.dot(rest_D)
    for i in range(iterations):
        a_along_D = times(along_D)
        curvature = along_D.dot(a_along_D)
        if float(curvature) <= _TINY:
            return b_D.clone() if i == 0 else d_D
        share = square / curvature
        d_D.add_(along_D * share)
        rest_D.sub_(a_along_D * share)
        smaller = rest_D.dot(rest_D)
        along_D = rest_D + along_D * (smaller / square)
        square = smaller
    return d_D
