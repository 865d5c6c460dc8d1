"""VBU: variational Bayesian unlearning, on a mean-field Gaussian around the trained weights.

Nguyen, Low, Jaillet, "Variational Bayesian Unlearning", NeurIPS 2020: from q(theta|D) to
q~(theta), the posterior without the erased samples, by the evidence upper bound (Eq. 3)

    U = E_q~[ log p_adj(E|theta) ] + KL(q~(theta) || q(theta|D)),

with the adjusted likelihood (Eq. 6): a theta that q(theta|D) finds too unlikely has no say,
p_adj = p where q(theta|D) > lambda * max q(theta|D), and 1 elsewhere. beta_u before the first
term is the addition of Wang, Zhang, Tian, Yu (IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239),
who compare with it.

A trained network has no q(theta|D): it is made by a diagonal Laplace approximation, of
precision N * F + p, F the diagonal of the empirical Fisher matrix (squared gradients of groups of
samples), N the training samples and p the prior's precision. In D dimensions the density of a
typical draw is e^(-D/2) of the maximum's, so that lambda is compared with the D-th root.

Shapes: D weights; V = 2 D variables, the means and log standard deviations of q~.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math
from collections.abc import Mapping
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
_GROUP = 16  # samples in a minibatch whose squared gradient counts for the Fisher diagonal


@dataclass(frozen=True)
class VBUConfig:
    """Settings of VBU. Raises ValueError naming the bad field.

    steps: at most. stop_accuracy: it ends earlier when at most this share of the erased
    samples is given its label. erased_batch, remaining_batch: samples a step. lr: Adam's.
    beta: Eq. 2's. beta_u: of the likelihood. threshold: lambda, 0 for no adjustment.
    prior_precision: of each weight. fisher_batches: minibatches that the Fisher diagonal is
    averaged over. weighting: none (as published: forgetting alone), or one that
    sets remembering beside it.
    """

    steps: int = 300
    stop_accuracy: float = 0.05
    erased_batch: int = 100
    remaining_batch: int = 100
    lr: float = 1e-3
    beta: float = 1e-3
    beta_u: float = 1.0
    threshold: float = 0.0
    prior_precision: float = 1e3
    fisher_batches: int = 200
    weighting: Weighting | None = None
    fixed_alpha: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch", "remaining_batch", "fisher_batches"):
            check_int("VBUConfig", name, getattr(self, name), 1)
        for name in ("lr", "prior_precision"):
            check_number("VBUConfig", name, getattr(self, name), above=0.0)
        for name in ("beta", "beta_u"):
            check_number("VBUConfig", name, getattr(self, name), least=0.0)
        for name in ("stop_accuracy", "threshold", "fixed_alpha"):
            check_number("VBUConfig", name, getattr(self, name), least=0.0, most=1.0)
        if self.weighting is not None:
            check_choice("VBUConfig", "weighting", self.weighting, WEIGHTINGS)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> VBUConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(model: VIB) -> VBUConfig:
    """The defaults for `model`: the lr and beta of the preset that its shape has."""
    training = preset_for(model.architecture.input_shape).training
    return VBUConfig(lr=training.lr, beta=training.beta)


def vbu(model: VIB, problem: Problem, config: VBUConfig, run: Run) -> Outcome:
    """Forget on `model`, a copy of the caller's; the mean of q~ is what is shipped."""
    labels_E = problem.erased.labels
    n = len(problem.erased)
    s0_D = laplace(model, problem, config, run.seed)

    def forget_loss(out: Output, e: Tensor) -> Tensor:
        return -config.beta_u * functional.cross_entropy(out.logits_BC, labels_E.index_select(0, e))

    def mean_field(flat: FlatParameters) -> MeanField:
        return MeanField(flat, s0_D, n, config.threshold)

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
        check_every=5,
    )
    stop = ErasedAccuracy(problem.erased, config.stop_accuracy)
    ended = descend(model, problem, settings, forget_loss, stop, run, variables=mean_field)
    return stop.outcome("vbu", ended, run, [])


class MeanField:
    """q~(theta) = N(mean, exp(log_s)^2) as the variables of a descent; one draw a step.

    The gradient of E_q~[L] with respect to mean is that of L at the draw theta = mean + s *
    noise, and with respect to log_s it is s * noise times that. U is divided by the number of
    erased samples: L_u is a mean over them.
    """

    def __init__(self, flat: FlatParameters, s0_D: Tensor, erased: int, threshold: float) -> None:
        self._theta_D = flat.theta_D
        self._mean0_D, self._s0_D = flat.theta_D.clone(), s0_D
        self._erased = erased
        self._log_threshold = math.log(threshold) if threshold > 0.0 else -math.inf
        self.theta_V = torch.cat([self._mean0_D, s0_D.log()])
        self._noise_D = torch.zeros_like(s0_D)

    def place(self, noise: torch.Generator) -> None:
        mean_D, log_s_D = self.theta_V.chunk(2)
        self._noise_D = torch.randn(len(mean_D), generator=noise, device=mean_D.device)
        self._theta_D.copy_(mean_D + log_s_D.exp() * self._noise_D)

    def gradients(self, g_2D: Tensor, loss_u: Tensor) -> tuple[Tensor, Tensor]:
        mean_D, log_s_D = self.theta_V.chunk(2)
        s_D = log_s_D.exp()
        g_2V = torch.cat([g_2D, g_2D * (s_D * self._noise_D)], dim=1)
        # log q(theta|D) - log max q(theta|D), by dimension
        density = -0.5 * ((self._theta_D - self._mean0_D) / self._s0_D).square().mean()
        likely = (density > self._log_threshold).float()
        g_2V[0] *= likely
        # KL of Gaussians: log(s0/s) + (s^2 + (mean - mean0)^2) / (2 s0^2) - 1/2
        apart_D = (mean_D - self._mean0_D) / self._s0_D
        ratio_D = (s_D / self._s0_D).square()
        kl = 0.5 * (ratio_D + apart_D.square() - 1.0 - ratio_D.log()).sum()
        g_2V[0] += torch.cat([apart_D / self._s0_D, ratio_D - 1.0]) / self._erased
        return g_2V, loss_u * likely + kl / self._erased

    def ship(self, theta_V: Tensor, model_D: Tensor) -> None:
        model_D.copy_(theta_V[: len(model_D)])


def laplace(model: VIB, problem: Problem, config: VBUConfig, seed: int) -> Tensor:
    """The standard deviation, [D], of q(theta|D) for each weight."""
    everything = Samples.concat(problem.remaining, problem.erased)
    flat = FlatParameters(model)
    batches = EndlessBatches(len(everything), _GROUP, seed, "Fisher", model.device)
    fisher_D = torch.zeros_like(flat.theta_D)
    for i in range(config.fisher_batches):
        some = everything[batches[i]]
        out = model(model.prepare(some.images))
        g_D = flat.gradient(vib_loss(out, some.labels, config.beta))
        fisher_D.addcmul_(g_D, g_D, value=len(some) / config.fisher_batches)
    return (len(everything) * fisher_D + config.prior_precision).rsqrt()
