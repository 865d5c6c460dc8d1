"""The limits of the gates: defaults of a model's policy, recorded in every certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearning._fields import check_number, from_fields, to_fields


@dataclass(frozen=True)
class Thresholds:
    """Limits, as shares 0..1 unless said otherwise. Raises ValueError naming the bad field.

    auc_band (G1): how far the AUC may lie from 0.5. ks_quantile (G2): of the distances of
    random non-member subsets. erased_gap (G2): between erased and held-out accuracy, or
    three standard errors where that is more. conformal_level, conformal_quantile (G3): of the
    p-values counted, and of how many there may be. trigger_rise (G4): of the trigger's
    success, and of contradicted labels still given, above the clean rate. accuracy_loss,
    class_loss, calibration_loss (G5): on the utility split. drift_loss (G5): in total since
    the last exact retraining. neighbour_loss, membership_rise (G6): of what remains.
    relearning_ratio (G8): how much faster than fresh samples. level: of Holm's correction.
    """

    auc_band: float = 0.10
    ks_quantile: float = 0.99
    erased_gap: float = 0.03
    conformal_level: float = 0.01
    conformal_quantile: float = 0.99
    trigger_rise: float = 0.10
    accuracy_loss: float = 0.005
    class_loss: float = 0.03
    calibration_loss: float = 0.02
    drift_loss: float = 0.01
    neighbour_loss: float = 0.02
    membership_rise: float = 0.02
    relearning_ratio: float = 1.2
    level: float = 0.05

    def __post_init__(self) -> None:
        for name, value in to_fields(self).items():
            most = 100.0 if name == "relearning_ratio" else 1.0
            check_number("Thresholds", name, value, above=0.0, most=most)

    def to_dict(self) -> dict[str, Any]:
        """The thresholds in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Thresholds:
        """The thresholds from decoded JSON, defaults where it is silent; ValueError otherwise."""
        return from_fields(cls, {**to_fields(cls()), **d})
