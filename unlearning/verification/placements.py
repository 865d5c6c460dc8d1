"""Placements: where each score stands among the other set's, class by class.

An erased sample's placement is the share of held-out samples of its class that score below
it (ties half), a held-out one's the share of erased ones above. AUCs, their DeLong variance
and conformal p-values are all means of placements (Hanley and Hajian-Tilaki, Academic
Radiology 1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy

from unlearning.verification.scores import Float, Int

Z90 = NormalDist().inv_cdf(0.95)
"""Half-width, in standard errors, of a two-sided 90 % interval."""


def below(values_n: Float, pool_m: Float) -> Float:
    """The share of `pool_m` below each value, ties half, [n]."""
    ordered = np.sort(pool_m)
    left = np.searchsorted(ordered, values_n, side="left")
    right = np.searchsorted(ordered, values_n, side="right")
    return (left + right) / (2.0 * len(pool_m))


@dataclass(frozen=True)
class Auc:
    """A class-weighted AUC: its value, DeLong's standard error, the one under exchangeability,
    and how many samples could be compared."""

    value: float
    error: float
    null_error: float
    erased: int
    held_out: int


def auc(erased_n: Float, labels_n: Int, held_m: Float, held_labels_m: Int) -> Auc | None:
    """The chance that an erased sample scores above a held-out one of its class.

    Classes are weighted as in E. The error is DeLong's (Biometrics 1988): placements of the
    erased samples vary around their mean, those of the held-out ones around their class's.
    Never under the one of exchangeable samples, sum of w_c^2 (n_c + m_c + 1) / (12 n_c m_c)
    (Mann and Whitney 1947). None when no class has samples of both.
    """
    placed: list[Float] = []
    variance = null_variance = 0.0
    held_count = 0
    total = sum(
        int((labels_n == c).sum()) for c in np.unique(labels_n) if (held_labels_m == c).any()
    )
    for c in np.unique(labels_n):
        e, h = erased_n[labels_n == c], held_m[held_labels_m == c]
        if len(h) == 0:
            continue
        w = len(e) / total
        placed.append(below(e, h))
        variance += w**2 * float(np.var(1.0 - below(h, e))) / max(len(h) - 1, 1)
        null_variance += w**2 * (len(e) + len(h) + 1) / (12.0 * len(e) * len(h))
        held_count += len(h)
    if not placed:
        return None
    all_placed = np.concatenate(placed)
    if len(all_placed) > 1:
        variance += float(np.var(all_placed, ddof=1)) / len(all_placed)
    # A handful of like placements shows too little spread, a single one none: one extreme
    # sample of a model that never saw it would fail. Never less than the null's.
    error = np.sqrt(max(variance, null_variance))
    return Auc(
        float(all_placed.mean()), float(error), float(np.sqrt(null_variance)), total, held_count
    )


def power_of_band(band: float, null_error: float) -> float:
    """The chance that two one-sided tests at 5 % pass when the AUC is 0.5 (TOST's power)."""
    return float(max(0.0, 2.0 * scipy.stats.norm.cdf(band / null_error - Z90) - 1.0))
