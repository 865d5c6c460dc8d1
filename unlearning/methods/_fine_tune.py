"""Fine-tuning on what remains: nothing is asked to be forgotten. The usual baseline.

It forgets by drift alone (Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net",
CVPR 2020, compare with it as "fine-tune"); a trigger survives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from unlearning._closed_forms import SoftTargets
from unlearning._fields import check_int, check_number, from_fields, to_fields
from unlearning.methods._descent import Descent, descend
from unlearning.methods._erased_accuracy import ErasedAccuracy
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.presets import preset_for
from unlearning.vib import VIB

RUNGS = 1


@dataclass(frozen=True)
class FineTuneConfig:
    """Settings of fine-tuning. Raises ValueError naming the bad field.

    steps: at most. stop_accuracy: it ends earlier when at most this share of the erased
    samples is given its label. remaining_batch: samples a step. lr: Adam's. beta: Eq. 2's.
    """

    steps: int = 1200
    stop_accuracy: float = 0.05
    remaining_batch: int = 100
    lr: float = 1e-3
    beta: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("steps", "remaining_batch"):
            check_int("FineTuneConfig", name, getattr(self, name), 1)
        check_number("FineTuneConfig", "lr", self.lr, above=0.0)
        check_number("FineTuneConfig", "beta", self.beta, least=0.0)
        check_number("FineTuneConfig", "stop_accuracy", self.stop_accuracy, least=0.0, most=1.0)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> FineTuneConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(model: VIB) -> FineTuneConfig:
    """The defaults for `model`: the lr and beta of the preset that its shape has."""
    training = preset_for(model.architecture.input_shape).training
    return FineTuneConfig(lr=training.lr, beta=training.beta)


def fine_tune(model: VIB, problem: Problem, config: FineTuneConfig, run: Run) -> Outcome:
    """Train `model`, a copy of the caller's, on the remaining samples, in place."""
    nothing = SoftTargets(torch.empty(0, model.architecture.classes))  # never asked
    stop = ErasedAccuracy(problem.erased, config.stop_accuracy)
    settings = Descent(
        steps=config.steps,
        erased_batch=0,
        remaining_batch=config.remaining_batch,
        lr=config.lr,
        beta=config.beta,
        weighting="fixed",
        fixed_alpha=0.0,
        clip=1e9,
        average=0.0,
    )
    ended = descend(model, problem, settings, nothing, stop, run)
    return stop.outcome("fine_tune", ended, run, [])
