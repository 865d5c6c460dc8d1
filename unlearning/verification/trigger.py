"""Triggers: does a patch still turn its source class into its target class?

Both rates are needed: after unlearning, a trigger that no longer yields its target may yet
send the image elsewhere (misdirected, not undone).
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearning.samples import Samples
from unlearning.triggers import Trigger
from unlearning.vib import VIB


@dataclass(frozen=True)
class TriggerRates:
    """Shares, 0..1, of `samples` triggered images: given the target (success), given their
    true label (undone)."""

    success: float
    undone: float
    samples: int


def trigger_rates(model: VIB, samples: Samples, trigger: Trigger) -> TriggerRates:
    """Plant `trigger` on the clean held-out `samples` of its source class, and count.

    Raises ValueError when there is none of that class, or the patch does not fit.
    """
    clean = samples[samples.labels == trigger.source]
    if len(clean) == 0:
        raise ValueError(f"no sample of the trigger's source class {trigger.source}")
    predicted = model.logits(trigger.apply(clean.images)).argmax(dim=1)
    return TriggerRates(
        success=float((predicted == trigger.target).float().mean()),
        undone=float((predicted == trigger.source).float().mean()),
        samples=len(clean),
    )
