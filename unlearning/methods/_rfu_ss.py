"""RFU-SS, calibrated: each erased sample is asked to look like one that was never seen.

It keeps the idea of Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting
With Parameter Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239 (forget on the
erased, remember on the remaining, one shared parameter vector, two-objective weights), and
replaces its unbounded forgetting term by a bounded one with a right answer: the prediction
of models that never saw the sample.

- L_u = KL(t(e) || p(y|z)) on erased samples, with t(e) from `_targets`; for ordinary samples
  their mean margin is held to that of unseen ones as well (`_level`); for wrong labels also
  0.1 * Huber(margin of y_e - the margin that an unseen sample has), since the KL no longer
  pulls once p(y_e) is small and a memorised margin would stay at half its depth.
- L_r = Eq. 2 on remaining ones.
- flagged requests (triggers, wrong labels) start from a shrunk and perturbed copy,
  theta <- lambda theta + (1 - lambda) theta_init (Ash and Adams, NeurIPS 2020).
"""

# ruff: noqa: N803 - symbols carry their shapes

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unlearning._closed_forms import SoftTargets
from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning.architecture import Kind
from unlearning.methods._descent import Descent, descend, weighting_warnings
from unlearning.methods._level import LevelTargets
from unlearning.methods._parts import ForgetLoss
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.methods._stop import StopRule
from unlearning.methods._targets import Targets, make_targets
from unlearning.presets import preset_for
from unlearning.teacher import references_digest
from unlearning.verification.membership import margins
from unlearning.vib import VIB, Output, initialise
from unlearning.weighting import WEIGHTINGS, Weighting

RUNGS = 3
_CONVOLUTIONS = {"erased_batch": 0.5, "remaining_batch": 0.4, "lr": 0.5}
"""Of a recipe, for networks of convolutions: a step of a ResNet-18 costs a thousand times an MLP's,
and it is trained at a lower rate. Measured of it and a pattern; all else is by analogy."""
_WEAK_TEACHER = 0.5


@dataclass(frozen=True)
class Recipe:
    """What suits a kind of request, as measured (docs/experiments.md).

    keep: lambda, the share of theta that is kept. least: steps before the first check. alpha:
    the weight of forgetting, or None for equal norms. depth: the weight of the margin term of
    contradicted labels. level: that of the mean margin of the others.
    Other fields as in RFUSSConfig.
    """

    keep: float
    least: int
    erased_batch: int
    remaining_batch: int
    lr: float
    average: float
    alpha: float | None
    depth: float = 0.0
    level: float = 0.0


_NATURAL = Recipe(1.0, 150, 100, 200, 3e-3, 0.95, 1 / 3, level=0.2)
_PATTERN = Recipe(0.85, 110, 40, 200, 2e-3, 0.95, None)
_SCATTERED = Recipe(0.4, 300, 30, 256, 8e-3, 0.98, 0.1, 0.1)
_HARDER = replace(_SCATTERED, keep=0.25, least=450)
_HARDEST = replace(_SCATTERED, keep=0.1, least=900)
_LADDERS = {
    "natural": (_NATURAL, replace(_NATURAL, least=300), _SCATTERED),
    "pattern": (_PATTERN, _SCATTERED, _HARDEST),
    "scattered": (_SCATTERED, _HARDER, _HARDEST),
}


@dataclass(frozen=True)
class RFUSSConfig:
    """Settings of the calibrated RFU-SS. Raises ValueError naming the bad field.

    None leaves a setting to the recipe of the request's kind: ordinary samples, a pattern (a
    trigger) or scattered wrong labels; a network of convolutions takes fewer samples a step and a
    lower rate. steps: at most; checks begin at half as many. keep:
    lambda, the share of the weights that is kept at the start. erased_batch, remaining_batch:
    samples a step; fewer when there are fewer. lr: Adam's. weighting: "equal_norm", "eq14" or
    "fixed" (at fixed_alpha). average: decay of the moving average of the weights, which is
    what is shipped. depth: the weight of the margin term for wrong labels. level: that of the
    mean margin of ordinary ones. beta: Eq. 2's weight of KL(p(z|x) || N(0, I)), as in training.
    clip: greatest norm of the gradient.
    """

    steps: int | None = None
    keep: float | None = None
    erased_batch: int | None = None
    remaining_batch: int | None = None
    lr: float | None = None
    weighting: Weighting | None = None
    fixed_alpha: float | None = None
    average: float | None = None
    depth: float | None = None
    level: float | None = None
    beta: float = 1e-3
    clip: float = 5.0

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch", "remaining_batch"):
            if getattr(self, name) is not None:
                check_int("RFUSSConfig", name, getattr(self, name), 1)
        limits = {"keep": 1.0, "fixed_alpha": 1.0, "average": 0.9999}
        limits |= {"depth": math.inf, "level": math.inf}
        for name, most in limits.items():
            if getattr(self, name) is not None:
                check_number("RFUSSConfig", name, getattr(self, name), least=0.0, most=most)
        if self.lr is not None:
            check_number("RFUSSConfig", "lr", self.lr, above=0.0)
        if self.weighting is not None:
            check_choice("RFUSSConfig", "weighting", self.weighting, WEIGHTINGS)
        check_number("RFUSSConfig", "beta", self.beta, least=0.0)
        check_number("RFUSSConfig", "clip", self.clip, above=0.0)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> RFUSSConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(model: VIB) -> RFUSSConfig:
    """The defaults for `model`: the beta of the preset that its shape has."""
    return RFUSSConfig(beta=preset_for(model.architecture.input_shape).training.beta)


def plan(targets: Targets, config: RFUSSConfig, rung: int, network: Kind) -> tuple[Recipe, Descent]:
    """The recipe of a request's kind, scaled to the network, with what `config` sets, and the
    descent that follows.
    """
    kind = "natural"
    if targets.contradicted:
        kind = "pattern" if targets.pattern else "scattered"
    recipe = _LADDERS[kind][rung]
    if network != "mlp":
        scaled = {name: getattr(recipe, name) * by for name, by in _CONVOLUTIONS.items()}
        batches = {name: round(scaled[name]) for name in ("erased_batch", "remaining_batch")}
        recipe = replace(recipe, **scaled | batches)
    set_ = {k: v for k, v in to_fields(config).items() if v is not None}
    recipe = replace(recipe, **{f.name: set_[f.name] for f in fields(Recipe) if f.name in set_})
    # Large requests need passes over E, not only steps.
    least = recipe.least + len(targets.t_EC) // 60 if kind == "natural" else recipe.least
    steps = set_.get("steps", 2 * least)
    m = min(recipe.erased_batch, len(targets.t_EC))
    alpha = set_.get("fixed_alpha", recipe.alpha)
    weighting = set_.get("weighting", "equal_norm" if alpha is None else "fixed")
    descent = Descent(
        steps=steps,
        erased_batch=m,
        remaining_batch=recipe.remaining_batch,
        lr=recipe.lr,
        beta=config.beta,
        weighting=weighting,
        fixed_alpha=0.5 if alpha is None else alpha,
        clip=config.clip,
        average=recipe.average,
    )
    return replace(recipe, least=min(least, max(1, steps // 2))), descent


def rfu_ss(model: VIB, problem: Problem, config: RFUSSConfig, run: Run) -> Outcome:
    """Run one rung on `model`, a copy of the caller's that is trained in place.

    Raises ValueError without references, or with a teacher of another kind of model.
    """
    started = time.perf_counter()
    teacher = problem.teacher
    assert teacher is not None, "`unlearn` refuses a problem without one"
    if len(problem.references) == 0:
        raise ValueError("rfu_ss needs references: held-back samples that were never trained on")
    if teacher.architecture.input_shape != model.architecture.input_shape or (
        teacher.architecture.classes != model.architecture.classes
    ):
        raise ValueError("the teacher's input shape or classes are not the model's")
    warnings = []
    if teacher.references_digest != references_digest(problem.references):
        warnings.append("the teacher was made from other references than this problem's")
    if teacher.accuracy < _WEAK_TEACHER:
        warnings.append(
            f"the teacher gets only {teacher.accuracy:.0%} of unseen references right: its "
            "targets are rough, more references would help"
        )
    teacher = teacher.to(run.device)
    targets = make_targets(model, problem, teacher)
    recipe, settings = plan(targets, config, run.rung, model.architecture.kind)
    stop = StopRule(model, problem, targets, run.seed, recipe.least - 10)
    if recipe.keep < 1.0:
        shrink_and_perturb(model, recipe.keep, run.seed)
    forget_loss: ForgetLoss = SoftTargets(targets.t_EC)
    if recipe.level > 0.0:
        forget_loss = LevelTargets(
            targets, problem.erased.labels, problem.references, recipe.level, run.seed
        )
    elif recipe.depth > 0.0:
        forget_loss = ForgetToTarget(targets, problem.erased.labels, recipe.depth)
    ended = descend(model, problem, settings, forget_loss, stop, run)
    if not ended.converged:
        warnings.append(
            f"the stop rule was not reached in {ended.steps} steps: the erased samples can still "
            "be told from unseen ones"
        )
    return Outcome(
        model=ended.model,
        strategy="rfu_ss",
        steps=ended.steps,
        seconds=time.perf_counter() - started,
        converged=ended.converged,
        rung=run.rung,
        flagged=targets.flagged_E.cpu(),
        history=ended.history,
        warnings=warnings + weighting_warnings(ended.history),
    )


class ForgetToTarget:
    """L_u: KL(t || p), and depth * Huber(margin - its target) where a label is contradicted."""

    def __init__(self, targets: Targets, labels_E: Tensor, depth: float) -> None:
        self._t_EC, self._labels_E, self._margin_E = targets.t_EC, labels_E, targets.margin_E
        # KL(t || p) = sum t log t - sum t log p; the first term is fixed.
        self._negative_entropy_E = -torch.special.entr(targets.t_EC).sum(dim=1)
        self._depth_E = depth * targets.flagged_E.float()
        self._deep = depth > 0.0 and bool(targets.flagged_E.any())

    def __call__(self, out: Output, e: Tensor) -> Tensor:
        cross = functional.cross_entropy(out.logits_BC, self._t_EC[e])
        loss: Tensor = cross + self._negative_entropy_E[e].mean()
        if self._deep:
            found = margins(out.logits_BC, self._labels_E[e])
            apart = functional.smooth_l1_loss(found, self._margin_E[e], reduction="none")
            loss = loss + (self._depth_E[e] * apart).mean()
        return loss


@torch.no_grad()
def shrink_and_perturb(model: VIB, keep: float, seed: int) -> None:
    """theta <- keep * theta + (1 - keep) * fresh weights, in place."""
    fresh = initialise(model.architecture, seed, model.device)
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        p.lerp_(q, 1.0 - keep)
