"""G2: are erased samples distributed as held-out ones, and answered as rightly?"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import scipy

from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.placements import Z90, below
from unlearning.verification.power import detectable_distance, detectable_gap
from unlearning.verification.scores import Bool, Float, Int, Scores
from unlearning.verification.thresholds import Thresholds

DRAWS = 400
ROUNDING = 1e-9
TAIL = NormalDist().cdf(-3.0)
DECIDABLE = 30
"""Under this many erased samples, the bounds cover almost any accuracy."""


def distribution_gates(
    erased: Scores, held: Scores, limits: Thresholds, seed: int = 0
) -> list[Gate]:
    """The Kolmogorov-Smirnov distance of margins, and the gap of accuracies."""
    shared = np.isin(erased.labels, np.unique(held.labels))
    if not shared.any():
        return []
    erased = erased.of(shared)
    return [ks_gate(erased, held, limits, seed), accuracy_gate(erased, held, limits)]


def ks_gate(erased: Scores, held: Scores, limits: Thresholds, seed: int = 0) -> Gate:
    """sup |F_E - F_H| of the margins' placements, against random non-member subsets.

    Placements within the class put all classes on one scale. Samples that the model never saw
    are exchangeable with held-out ones of their class, so that their n_c ranks among all n_c +
    m_c are a random subset: the null is drawn so, which is exact at every size. Distances are
    given in units of the root of the effective size (Smirnov 1948), here of classes weighted
    as in E: 1 / sum of w_c^2 (1 / n_c + 1 / m_c).
    """
    statistic, null = _ks(erased.margin, erased.labels, held.margin, held.labels, seed)
    # An attained value: with few samples there are few, and one between two would be beaten by
    # what is not rare.
    bound = float(np.quantile(null, limits.ks_quantile, method="higher"))
    p_value = float((1 + (null >= statistic - ROUNDING).sum()) / (1 + len(null)))
    return Gate(
        "G2",
        "distribution",
        "Kolmogorov-Smirnov distance of erased margins to held-out ones, times the root of the "
        "effective size",
        statistic,
        statistic,
        statistic,
        0.0,
        bound,
        len(erased),
        "FAIL" if statistic > bound + ROUNDING else "PASS",
        p_value=p_value,
        detectable=detectable_distance(bound),
        citation="Smirnov 1948; permutation null as in Good, Permutation Tests, 2000",
        detail={"draws": len(null)},
    )


def _ks(e: Float, labels_e: Int, h: Float, labels_h: Int, seed: int) -> tuple[float, Float]:
    rng = np.random.default_rng(seed)
    placed: list[Float] = []
    drawn: list[Float] = []  # [draws, n_c] each
    sizes: list[tuple[int, int]] = []
    for c in np.unique(labels_e):
        mine, pool = e[labels_e == c], h[labels_h == c]
        n, m = len(mine), len(pool)
        placed.append(below(mine, pool))
        sizes.append((n, m))
        ranks = np.argpartition(rng.random((DRAWS, n + m), dtype=np.float32), n, axis=1)[:, :n]
        ranks.sort(axis=1)
        drawn.append((ranks - np.arange(n)) / m)  # of a rank, those before it are held-out ones
    scale = _root_size(sizes)
    observed = float(_distance(np.concatenate(placed)[None])[0]) * scale
    return observed, _distance(np.concatenate(drawn, axis=1)) * scale


def _root_size(sizes: list[tuple[int, int]]) -> float:
    """The root of the effective size of n_c erased and m_c held-out samples in each class."""
    n, m = np.array(sizes, dtype=float).T
    return float(1.0 / np.sqrt(((n / n.sum()) ** 2 * (1.0 / n + 1.0 / m)).sum()))


def _distance(placed_DN: Float) -> Float:  # noqa: N803
    """sup_t |F(t) - t| of each row of placements."""
    ordered = np.sort(placed_DN, axis=1)
    n = ordered.shape[1]
    above = (np.arange(1, n + 1) / n - ordered).max(axis=1)
    under = (ordered - np.arange(n) / n).max(axis=1)
    distance: Float = np.maximum(above, under)
    return distance


def accuracy_gate(erased: Scores, held: Scores, limits: Thresholds) -> Gate:
    """Accuracy on E less that on H, classes weighted as in E; apart in either direction fails.

    Of n_c samples that the model never saw, as many are right as a beta-binomial says after x_c
    of m_c held-out ones: Beta(x_c + 1/2, m_c - x_c + 1/2), the posterior predictive under
    Jeffreys' prior. The bounds leave three standard errors' tails (0.135 %) of its sum over
    classes, and `erased_gap` at least: rates near 1 are skewed, and a normal interval of few
    samples fails too often below.
    """
    n = len(erased)
    chances = np.ones(1)
    expected = 0.0
    for c in np.unique(erased.labels):
        mine = int((erased.labels == c).sum())
        others: Bool = held.right[held.labels == c]
        x, m = int(others.sum()), len(others)
        expected += mine / n * x / m
        predicted = scipy.stats.betabinom.pmf(np.arange(mine + 1), mine, x + 0.5, m - x + 0.5)
        chances = np.convolve(chances, predicted)
    counts, at_most = np.arange(n + 1), chances.cumsum()
    error = math.sqrt(chances @ counts**2 - (chances @ counts) ** 2) / n
    fewest = int(np.searchsorted(at_most, TAIL, side="right"))
    highest = min(n, int(np.searchsorted(at_most, 1.0 - TAIL)))
    least = min(-limits.erased_gap, fewest / n - expected)
    most = max(limits.erased_gap, highest / n - expected)
    gap = int(erased.right.sum()) / n - expected
    verdict: Verdict = "PASS"
    if gap < least or gap > most:
        verdict = "FAIL"
    elif n < DECIDABLE:
        verdict = "INCONCLUSIVE"
    return Gate(
        "G2",
        "erased_accuracy",
        "accuracy on erased samples less that on held-out ones of their classes",
        gap,
        gap - Z90 * error,
        gap + Z90 * error,
        least,
        most,
        n,
        verdict,
        detectable=detectable_gap(n, expected, least),
        citation="Jeffreys 1946; predictive tails as in Geisser, Predictive Inference, 1993",
        detail={"standard_error": error, "held_out_accuracy": expected},
    )
