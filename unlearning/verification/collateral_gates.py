"""G6: what became of the samples that stay? And G0: does a near-copy of the erased stay too?"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import scipy

from unlearning.verification.gate import Gate
from unlearning.verification.nearest import Nearness, nearest
from unlearning.verification.placements import below
from unlearning.verification.scores import Scores
from unlearning.verification.thresholds import Thresholds

NEIGHBOURS = 5
NEAR_QUANTILE = 0.001
MOST_ERASED = 2000
"""Erased samples whose neighbours are looked for: enough for any rate, and bounded in cost."""


def scope_gate(erased: Scores, held: Scores, remaining: Scores, level: float = 0.05) -> Gate:
    """Erased samples with a remaining one nearer than unseen samples ever have theirs.

    Near is under the 0.1 % quantile of held-out samples' distance to their nearest remaining
    one, in the mu-space of the model before. INCONCLUSIVE when there are more than that
    explains (one-sided binomial test at `level`): a reviewer decides; exact copies have been
    erased already.
    """
    mine, nearness = erased.mu[:MOST_ERASED], Nearness(remaining.mu)
    near = nearness.lowest(held.mu, math.floor(NEAR_QUANTILE * (len(held) - 1)))
    count = nearness.nearer_than(mine, near)
    p_value = float(scipy.stats.binom.sf(count - 1, len(mine), max(NEAR_QUANTILE, 1.0 / len(held))))
    return Gate(
        "G0",
        "near_copies",
        "erased samples with a suspiciously near remaining one",
        float(count),
        float(count),
        float(count),
        0.0,
        float(scipy.stats.binom.ppf(1.0 - level, len(mine), NEAR_QUANTILE)),
        len(mine),
        "INCONCLUSIVE" if count and p_value <= level else "PASS",
        detail={"p_value": p_value, "near": near},
    )


def neighbour_gate(
    erased_before: Scores,
    remaining_before: Scores,
    remaining_after: Scores,
    limits: Thresholds,
) -> Gate:
    """Accuracy lost on the remaining neighbours of E (5 each, in the mu-space before).

    The one-sided 95 % lower bound is of the paired difference's mean.
    """
    indices, _ = nearest(erased_before.mu[:MOST_ERASED], remaining_before.mu, NEIGHBOURS)
    chosen = np.unique(indices)
    lost = remaining_before.right[chosen].astype(float) - remaining_after.right[chosen]
    error = float(lost.std()) / math.sqrt(len(lost))
    mean = float(lost.mean())
    return _loss(
        "neighbours",
        "accuracy lost on the remaining neighbours of the erased",
        mean,
        error,
        limits.neighbour_loss,
        len(chosen),
    )


def membership_rise_gate(
    remaining_before: Scores,
    remaining_after: Scores,
    held_before: Scores,
    held_after: Scores,
    limits: Thresholds,
) -> Gate:
    """Has the membership AUC of the remaining samples risen? Erasing one must not expose others.

    The difference of two correlated AUCs, by the differences of their placements (DeLong 1988).
    """
    inner = below(remaining_after.margin, held_after.margin)
    inner -= below(remaining_before.margin, held_before.margin)
    outer = below(held_after.margin, remaining_after.margin)
    outer -= below(held_before.margin, remaining_before.margin)
    variance = float(inner.var()) / len(inner) + float(outer.var()) / len(outer)
    return _loss(
        "membership_of_remaining",
        "rise of the membership AUC of remaining samples",
        float(inner.mean()),
        math.sqrt(variance),
        limits.membership_rise,
        len(remaining_after),
    )


def _loss(name: str, what: str, mean: float, error: float, limit: float, n: int) -> Gate:
    z = NormalDist().inv_cdf(0.95)
    low, high = mean - z * error, mean + z * error
    return Gate(
        "G6", name, what, mean, low, high, -1.0, limit, n, "FAIL" if low > limit else "PASS"
    )
