"""What every method takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unlearning._snapshot import Resumption
from unlearning.samples import Samples
from unlearning.teacher import Teacher
from unlearning.vib import VIB


@dataclass(frozen=True, eq=False)
class Problem:
    """One erasure.

    erased: the samples to forget. remaining: those to remember, all or a random subset.
    references: held-back samples that were never trained on (R). teacher: made from R; only
    the calibrated method needs it. noise: the last so many of `erased` are made-up pictures with
    labels drawn at random (canaries): no teacher need contradict them, and they say nothing of
    what kind of request this is, or whether the others are forgotten.
    """

    erased: Samples
    remaining: Samples
    references: Samples
    teacher: Teacher | None = None
    noise: int = 0

    @property
    def judged(self) -> Samples:
        """The erased samples without the noise."""
        return self.erased[: len(self.erased) - self.noise]

    def check(self, model: VIB) -> None:
        """Raise ValueError, saying what and why, for a problem that cannot be solved."""
        architecture = model.architecture
        if len(self.erased) == 0:
            raise ValueError("no erased samples: there is nothing to forget")
        if not 0 <= self.noise < len(self.erased):
            raise ValueError(
                f"noise is {self.noise} of {len(self.erased)} erased samples: it must leave one"
            )
        if len(self.remaining) == 0:
            raise ValueError("no remaining samples: when everything is erased, delete the model")
        for what, samples in (
            ("erased", self.erased),
            ("remaining", self.remaining),
            ("references", self.references),
        ):
            if len(samples) == 0:
                continue
            if samples.shape != architecture.input_shape:
                raise ValueError(
                    f"{what}: images are {list(samples.shape)}, the model wants "
                    f"{list(architecture.input_shape)}"
                )
            samples.check_classes(architecture.classes, what)
        kept = set(torch.unique(self.remaining.labels).tolist())
        for label in torch.unique(self.erased.labels).tolist():
            if label not in kept:
                raise ValueError(
                    f"class {label} would vanish: no remaining sample has it, so nothing says "
                    "what to remember of it; retrain without the class instead"
                )
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            raise ValueError("the model holds NaN or infinite weights")


@dataclass(frozen=True)
class StepReport:
    """One step, as it was before its update.

    forget_loss (L_u), remember_loss (L_r): in nats. alpha: the weight of forgetting.
    forget_norm, remember_norm: of the gradients g_u, g_r. cosine: of the angle between them.
    """

    phase: str
    step: int
    total_steps: int
    forget_loss: float
    remember_loss: float
    alpha: float
    forget_norm: float
    remember_norm: float
    cosine: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What unlearning gave.

    model: a new one, in evaluation mode. steps, seconds: what it took, targets and checks
    included, the teacher not. converged: the method's stop rule was reached.
    rung: of the ladder that was run. flagged: boolean [E], the erased samples whose label the
    teacher contradicts; none for methods without a teacher. history: every tenth step.
    warnings: what a reader of the result must know.
    """

    model: VIB
    strategy: str
    steps: int
    seconds: float
    converged: bool
    rung: int
    flagged: Tensor
    history: list[StepReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def flagged_count(self) -> int:
        """The number of flagged samples."""
        return int(self.flagged.sum())


@dataclass(frozen=True)
class Run:
    """How a method is run, beside its own configuration."""

    seed: int = 0
    device: str | torch.device = "cpu"
    rung: int = 0
    on_step: Callable[[StepReport], None] | None = None
    should_stop: Callable[[], bool] | None = None
    snapshots: Resumption = field(default_factory=Resumption)
    precision: Literal["float32", "bfloat16"] = "float32"
    identity: str = ""  # names the run in its snapshots; empty when none is wanted
    halvings: int = 0  # of the minibatches, for want of memory

    def halved(self, batch: int) -> int:
        """A minibatch of `batch` samples, halved so often; 0 stays 0, and others at least 1."""
        return batch and max(1, batch >> self.halvings)
