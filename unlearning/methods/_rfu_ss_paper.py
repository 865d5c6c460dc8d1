"""RFU-SS as its paper prints it, for study and comparison.

Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting With Parameter
Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, Eqs. 2, 8, 9 and 14 and
Algorithm 1, which reverses the KL terms of Eqs. 8 and 9. KLs over z are averaged over its
dimensions, as in training.

With beta_u < 1 it does not forget: for a confident model the limiting KL of Eq. 9 is about
-log p(y_e), so that minimising (beta_u - 1) log p(y_e) keeps p(y_e) at 1.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from unlearning._closed_forms import OutputGradient
from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning.methods._descent import Descent, descend, weighting_warnings
from unlearning.methods._erased_accuracy import ErasedAccuracy
from unlearning.methods._mine import Mine
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.presets import preset_for
from unlearning.vib import VIB, Output, kl_to_standard_normal
from unlearning.weighting import WEIGHTINGS, Weighting

RUNGS = 1
DIRECTIONS = ("algorithm1", "equations")
ESTIMATORS = ("variational", "mine")


@dataclass(frozen=True)
class PaperConfig:
    """Settings of the printed RFU-SS. Raises ValueError naming the bad field.

    steps: at most. stop_accuracy: it ends earlier when at most this share of the erased
    samples is given its label, as the paper's runs do. erased_batch, remaining_batch:
    samples a step. lr: Adam's. beta: Eq. 2's. beta_u: Eqs. 8 and 9's. limit: weight of
    the KL terms that hold the model near the fixed one (1 as printed). direction: of those
    KL terms, "algorithm1" (fixed first) or "equations" (fixed second). estimator: of I(X; Z),
    "variational" (the KL to N(0, I)) or "mine". weighting: "eq14", "equal_norm" or "fixed" (at
    fixed_alpha).
    """

    steps: int = 200
    stop_accuracy: float = 0.05
    erased_batch: int = 100
    remaining_batch: int = 100
    lr: float = 1e-3
    beta: float = 1e-3
    beta_u: float = 0.1
    limit: float = 1.0
    direction: Literal["algorithm1", "equations"] = "algorithm1"
    estimator: Literal["variational", "mine"] = "variational"
    weighting: Weighting = "eq14"
    fixed_alpha: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch", "remaining_batch"):
            check_int("PaperConfig", name, getattr(self, name), 1)
        check_number("PaperConfig", "lr", self.lr, above=0.0)
        for name in ("beta", "beta_u", "limit"):
            check_number("PaperConfig", name, getattr(self, name), least=0.0)
        for name in ("stop_accuracy", "fixed_alpha"):
            check_number("PaperConfig", name, getattr(self, name), least=0.0, most=1.0)
        check_choice("PaperConfig", "direction", self.direction, DIRECTIONS)
        check_choice("PaperConfig", "estimator", self.estimator, ESTIMATORS)
        check_choice("PaperConfig", "weighting", self.weighting, WEIGHTINGS)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> PaperConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(model: VIB) -> PaperConfig:
    """The defaults for `model`: the lr and beta of the preset that its shape has."""
    training = preset_for(model.architecture.input_shape).training
    return PaperConfig(lr=training.lr, beta=training.beta)


def rfu_ss_paper(model: VIB, problem: Problem, config: PaperConfig, run: Run) -> Outcome:
    """Run the printed algorithm on `model`, a copy of the caller's that is trained in place."""
    forget_loss = forget_loss_of(model, problem, config, run.seed)
    settings = Descent(
        steps=config.steps,
        erased_batch=config.erased_batch,
        remaining_batch=config.remaining_batch,
        lr=config.lr,
        beta=config.beta,
        weighting=config.weighting,
        fixed_alpha=config.fixed_alpha,
        clip=1e9,  # the paper clips nothing and averages nothing
        average=0.0,
    )
    stop = ErasedAccuracy(problem.erased, config.stop_accuracy)
    ended = descend(model, problem, settings, forget_loss, stop, run)
    return stop.outcome("rfu_ss_paper", ended, run, weighting_warnings(ended.history))


@torch.no_grad()
def fixed_outputs(model: VIB, images: Tensor, chunk: int = 4096) -> Output:
    """p_fix(z|x) and p_fix(y|z = mu) of the model before unlearning, computed once."""
    model.eval()
    parts = [model(model.prepare(part)) for part in torch.split(images, chunk)]
    return Output(*(torch.cat(column) for column in zip(*parts, strict=True)))


class Terms(Protocol):
    """The settings of Eqs. 8 and 9, which RFU alone has too."""

    @property
    def beta_u(self) -> float: ...
    @property
    def limit(self) -> float: ...
    @property
    def direction(self) -> str: ...
    @property
    def estimator(self) -> str: ...


class PaperForgetLoss:
    """L_rep_u + L_app_u of erased samples by their indices."""

    def __init__(self, model: VIB, problem: Problem, config: Terms, seed: int) -> None:
        self._prepare = model.prepare
        self._erased = problem.erased
        self._config = config
        self._fixed = fixed_outputs(model, problem.erased.images)
        self._noise = torch.Generator(model.device)
        self._mine = None
        if config.estimator == "mine":
            a = model.architecture
            self._mine = Mine(math.prod(a.input_shape), a.latent, seed, model.device)

    def tensors(self) -> dict[str, Tensor]:
        """What an estimator has learnt."""
        return {} if self._mine is None else self._mine.tensors()

    def _fixed_of(self, e: Tensor) -> Output:
        return Output(*(part.index_select(0, e) for part in self._fixed))

    def draw_from(self, noise: torch.Generator) -> None:
        """Use the run's own stream of random numbers."""
        self._noise = noise

    def __call__(self, out: Output, e: Tensor) -> Tensor:
        information = None
        if self._mine is not None:
            x_BP = self._prepare(self._erased.images.index_select(0, e)).flatten(1)
            mu_BK = out.mu_BK
            noise_BK = torch.randn(mu_BK.shape, generator=self._noise, device=mu_BK.device)
            information = self._mine(x_BP, out, noise_BK)
        labels_B = self._erased.labels.index_select(0, e)
        return paper_forget_loss(out, self._fixed_of(e), labels_B, self._config, information)


class ClosedPaperForgetLoss(PaperForgetLoss):
    """The same with its gradients in closed form, for the variational estimator."""

    def __init__(self, model: VIB, problem: Problem, config: Terms, seed: int) -> None:
        super().__init__(model, problem, config, seed)
        mu_EK, log_var_EK, logits_EC = self._fixed
        # Side by side, so that a step gathers its rows once.
        parts = (mu_EK, log_var_EK.exp(), torch.log_softmax(logits_EC, dim=1))
        self._widths, self._gathered = [part.shape[1] for part in parts], torch.cat(parts, dim=1)

    def gradient(self, out: Output, e: Tensor) -> OutputGradient:
        """Term by term: KL to N(0, I), log p(y), and the two KLs to the fixed model."""
        config, beta_u, limit = self._config, self._config.beta_u, self._config.limit
        mu_fix, var_fix, log_p_fix = torch.split(
            self._gathered.index_select(0, e), self._widths, dim=1
        )
        labels_B1 = self._erased.labels.index_select(0, e)[:, None]
        rows, cells = len(labels_B1), out.mu_BK.numel()
        apart, variance = out.mu_BK - mu_fix, out.log_var_BK.exp()
        if config.direction == "algorithm1":
            p = torch.softmax(out.logits_BC, dim=1)
            d_y = p - log_p_fix.exp()
            d_mu = apart / variance
            d_log_var = 1.0 - torch.addcmul(var_fix / variance, apart, d_mu)
        else:
            log_p = torch.log_softmax(out.logits_BC, dim=1)
            p, along_BC = log_p.exp(), log_p - log_p_fix
            d_y = p * (along_BC - (p * along_BC).sum(dim=1, keepdim=True))
            d_mu = apart / var_fix
            d_log_var = variance / var_fix - 1.0
        d_y.mul_(limit).sub_(p, alpha=beta_u)
        d_y.scatter_add_(1, labels_B1, torch.full_like(p[:, :1], beta_u))
        excess = variance.sub_(1.0)
        return OutputGradient(
            d_mu.mul_(limit).add_(out.mu_BK, alpha=beta_u).div_(cells),
            d_log_var.mul_(limit).add_(excess, alpha=beta_u).mul_(0.5 / cells),
            d_y.div_(rows),
        )


def forget_loss_of(model: VIB, problem: Problem, config: Terms, seed: int) -> PaperForgetLoss:
    """The forgetting loss that `config` asks for, in closed form where there is one."""
    kind = ClosedPaperForgetLoss if config.estimator == "variational" else PaperForgetLoss
    return kind(model, problem, config, seed)


def paper_forget_loss(
    out: Output,
    fixed: Output,
    labels_B: Tensor,
    config: Terms,
    information: Tensor | None = None,
) -> Tensor:
    """L_rep_u + L_app_u, Eqs. 8 and 9, in nats, averaged over B erased samples.

    information: an estimate of I(X; Z) for each dimension of z; by default its upper bound,
    KL(p(z|x) || N(0, I)).
    """
    log_p = functional.log_softmax(out.logits_BC, dim=1)
    log_p_fix = functional.log_softmax(fixed.logits_BC, dim=1)
    if config.direction == "algorithm1":
        limit_z = gaussian_kl(fixed, out)
        limit_y = (log_p_fix.exp() * (log_p_fix - log_p)).sum(dim=1).mean()
    else:
        limit_z = gaussian_kl(out, fixed)
        limit_y = (log_p.exp() * (log_p - log_p_fix)).sum(dim=1).mean()
    forget_z = information
    if forget_z is None:
        forget_z = kl_to_standard_normal(out.mu_BK, out.log_var_BK)
    forget_y = log_p.gather(1, labels_B[:, None]).mean()
    return config.beta_u * (forget_z + forget_y) + config.limit * (limit_z + limit_y)


def gaussian_kl(p: Output, q: Output) -> Tensor:
    """KL(p(z|x) || q(z|x)) of diagonal Gaussians in nats, averaged over B and K."""
    ratio = (p.log_var_BK - q.log_var_BK).exp()
    apart = (p.mu_BK - q.mu_BK).square() / q.log_var_BK.exp()
    return 0.5 * (ratio + apart - 1.0 + q.log_var_BK - p.log_var_BK).mean()
