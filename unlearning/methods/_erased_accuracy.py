"""The stop rule of the methods that the paper compares: few erased samples keep their label.

Wang, Zhang, Tian, Yu, IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, section VI, end their
runs, and those of the comparators, where the accuracy on the erased (backdoored) samples is
under 5 %. For ordinary samples that is far too low: a retrained model gets most of them right.
"""

from __future__ import annotations

from typing import Any

import torch

from unlearning.methods._descent import Ended
from unlearning.methods._protocol import Outcome, Run
from unlearning.samples import Samples
from unlearning.verification.utility import accuracy
from unlearning.vib import VIB

_AT_MOST = 4096  # erased samples that a check looks at


class ErasedAccuracy:
    """True once at most `share` of the erased samples are given their label."""

    def __init__(self, erased: Samples, share: float) -> None:
        some = torch.randperm(len(erased), generator=torch.Generator().manual_seed(0))
        self._erased = erased[some[:_AT_MOST].to(erased.labels.device)]
        self._total, self._share = len(erased), share

    def __call__(self, model: VIB, _step: int) -> bool:
        return accuracy(model, self._erased) <= self._share

    def state(self) -> dict[str, Any]:
        """Nothing is remembered from check to check."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing was remembered."""

    def outcome(self, strategy: str, ended: Ended, run: Run, warnings: list[str]) -> Outcome:
        """What a method that `ended` so gives; one more warning when it did not."""
        if not ended.converged:
            warnings = [
                *warnings,
                f"after {ended.steps} steps more than {self._share:.0%} of the erased samples "
                "are still given their label",
            ]
        return Outcome(
            model=ended.model,
            strategy=strategy,
            steps=ended.steps,
            seconds=ended.seconds,
            converged=ended.converged,
            rung=run.rung,
            flagged=torch.zeros(self._total, dtype=torch.bool),
            history=ended.history,
            warnings=warnings,
        )
