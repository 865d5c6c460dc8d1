"""RFU: representation forgetting unlearning alone, without parameter self-sharing.

Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting With Parameter
Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, section IV, Eqs. 8 and 9: the
forgetting terms of RFU-SS, nothing remembered but by the terms that hold the model near the
one before. The losses are those of `_rfu_ss_paper`.

The defaults are not the printed ones (beta_u = 0.1, limit = 1), which cannot forget: see there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning.methods._descent import Descent, descend
from unlearning.methods._erased_accuracy import ErasedAccuracy
from unlearning.methods._protocol import Outcome, Problem, Run
from unlearning.methods._rfu_ss_paper import DIRECTIONS, ESTIMATORS, forget_loss_of
from unlearning.vib import VIB

RUNGS = 1


@dataclass(frozen=True)
class RFUConfig:
    """Settings of RFU. Raises ValueError naming the bad field.

    steps: at most. stop_accuracy: it ends earlier when at most this share of the erased
    samples is given its label. erased_batch: samples a step. lr: Adam's. beta_u: of Eqs. 8 and
    9. limit: weight of the KL terms that hold the model near the one before. direction: of those
    terms. estimator: of I(X; Z). See PaperConfig.
    """

    steps: int = 200
    stop_accuracy: float = 0.05
    erased_batch: int = 100
    lr: float = 1e-3
    beta_u: float = 1.0
    limit: float = 0.4
    direction: Literal["algorithm1", "equations"] = "algorithm1"
    estimator: Literal["variational", "mine"] = "variational"

    def __post_init__(self) -> None:
        for name in ("steps", "erased_batch"):
            check_int("RFUConfig", name, getattr(self, name), 1)
        check_number("RFUConfig", "lr", self.lr, above=0.0)
        for name in ("beta_u", "limit"):
            check_number("RFUConfig", name, getattr(self, name), least=0.0)
        check_number("RFUConfig", "stop_accuracy", self.stop_accuracy, least=0.0, most=1.0)
        check_choice("RFUConfig", "direction", self.direction, DIRECTIONS)
        check_choice("RFUConfig", "estimator", self.estimator, ESTIMATORS)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> RFUConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


def default_config(_model: VIB) -> RFUConfig:
    """The same defaults for every model."""
    return RFUConfig()


def rfu(model: VIB, problem: Problem, config: RFUConfig, run: Run) -> Outcome:
    """Forget on `model`, a copy of the caller's that is trained in place."""
    forget_loss = forget_loss_of(model, problem, config, run.seed)
    stop = ErasedAccuracy(problem.erased, config.stop_accuracy)
    settings = Descent(
        steps=config.steps,
        erased_batch=config.erased_batch,
        remaining_batch=0,
        lr=config.lr,
        beta=0.0,
        weighting="fixed",
        fixed_alpha=1.0,
        clip=1e9,
        average=0.0,
        frozen_statistics=True,
        check_every=5,
    )
    ended = descend(model, problem, settings, forget_loss, stop, run)
    return stop.outcome("rfu", ended, run, [])
