"""RFU-SS, calibrated: each erased sample is asked to look like one that was never seen.

It keeps the idea of Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting
With Parameter Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239 (forget on the
erased, remember on the remaining, one shared parameter vector, two-objective weights), and
replaces its unbounded forgetting term by a bounded one with a right answer: the prediction
of models that never saw the sample.

- L_u = KL(t(e) || p(y|z)) on erased samples, with t(e) from `_targets`.
- L_r = Eq. 2 on remaining ones.
- flagged requests (triggers, wrong labels) start from a shrunk and perturbed copy,
  theta <- lambda theta + (1 - lambda) theta_init (Ash and Adams, NeurIPS 2020).
"""

# ruff: noqa: N806 - symbols carry their shapes

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning.methods._descent import Descent, descend, weighting_warnings
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.methods._stop import StopRule
from unlearning.methods._targets import make_targets
from unlearning.presets import preset_for
from unlearning.teacher import references_digest
from unlearning.vib import VIB, Output, initialise
from unlearning.weighting import WEIGHTINGS, Weighting

RUNGS = 3
_LAMBDA = (0.7, 0.4, 0.2)  # flagged requests: how much of theta is kept, rung by rung
_STEPS = (1, 2, 4)  # how many times the steps, rung by rung
_WEAK_TEACHER = 0.5


@dataclass(frozen=True)
class RFUSSConfig:
    """Settings of the calibrated RFU-SS. Raises ValueError naming the bad field.

    steps: at most, on the first rung. erased_batch, remaining_batch: samples a step; fewer
    when there are fewer. lr: Adam's. beta: Eq. 2's weight of KL(p(z|x) || N(0, I)), as in
    training. weighting: "equal_norm", "eq14" or "fixed" (at fixed_alpha). clip: greatest norm
    of the gradient. average: decay of the moving average of the weights, which is what is
    shipped.
    """

    steps: int = 300
    erased_batch: int = 100
    remaining_batch: int = 400
    lr: float = 3e-3
    beta: float = 1e-3
    weighting: Weighting = "equal_norm"
    fixed_alpha: float = 0.5
    clip: float = 5.0
    average: float = 0.95

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch", "remaining_batch"):
            check_int("RFUSSConfig", name, getattr(self, name), 1)
        check_number("RFUSSConfig", "lr", self.lr, above=0.0)
        check_number("RFUSSConfig", "beta", self.beta, least=0.0)
        check_number("RFUSSConfig", "clip", self.clip, above=0.0)
        check_number("RFUSSConfig", "fixed_alpha", self.fixed_alpha, least=0.0, most=1.0)
        check_number("RFUSSConfig", "average", self.average, least=0.0, most=0.9999)
        check_choice("RFUSSConfig", "weighting", self.weighting, WEIGHTINGS)

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
    stop = StopRule(model, problem, targets, run.seed)
    steps = config.steps * _STEPS[run.rung]
    if bool(targets.flagged_E.any()):
        shrink_and_perturb(model, _LAMBDA[run.rung], run.seed)

    # KL(t || p) = sum t log t - sum t log p; the first term is fixed.
    negative_entropy_E = -torch.special.entr(targets.t_EC).sum(dim=1)

    def forget_loss(out: Output, e: Tensor) -> Tensor:
        cross = functional.cross_entropy(out.logits_BC, targets.t_EC[e])
        loss: Tensor = cross + negative_entropy_E[e].mean()
        return loss

    settings = Descent(**{**to_fields(config), "steps": steps})
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


@torch.no_grad()
def shrink_and_perturb(model: VIB, keep: float, seed: int) -> None:
    """theta <- keep * theta + (1 - keep) * fresh weights, in place."""
    fresh = initialise(model.architecture, seed, model.device)
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        p.lerp_(q, 1.0 - keep)
