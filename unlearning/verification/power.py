"""What a gate would find: the least difference that fails with 80 % power.

A passed test says as much as it could have caught. Each function answers for one gate, at the
sizes at hand, with Holm's correction as it falls on the test that stands out: its p-value must
stay under level / tests.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import scipy

POWER = 0.8
TESTS = 5
"""Tests that are corrected for one another in a request without G4: G1's two, the distance of
G2, G3's two."""

_Z = NormalDist().inv_cdf(POWER)


def detectable_auc(erased: int, held: int, band: float, level: float) -> float | None:
    """The AUC above 0.5 that G1 fails with 80 % power; None where even an AUC of 1 is not.

    The variance at an AUC A is Hanley and McNeil's (Radiology 1982), (A (1 - A) + (n - 1) (A /
    (2 - A) - A^2) + (m - 1) (2 A^2 / (1 + A) - A^2)) / (n m); the bound is set by it or, where
    that is more, by the one of exchangeable samples. Under 0.5 it is the same, mirrored.
    """
    n, m = erased, held
    null = math.sqrt((n + m + 1) / (12 * n * m))
    critical = float(scipy.stats.norm.isf(level / TESTS))

    def short(a: float) -> float:
        spread = (n - 1) * (a / (2 - a) - a * a) + (m - 1) * (2 * a * a / (1 + a) - a * a)
        error = math.sqrt((a * (1 - a) + spread) / (n * m))
        return a - 0.5 - band - critical * max(error, null) - _Z * error

    if short(1.0) < 0.0:
        return None
    return float(scipy.optimize.brentq(short, 0.5 + band, 1.0))


def detectable_distance(bound: float) -> float:
    """The Kolmogorov-Smirnov distance, times the root of the effective size, that G2 fails with
    80 % power or more.

    At the point where two distributions are farthest apart the empirical distance has a
    standard error of at most 1/2, in these units (Massey, Ann. Math. Statist. 1950).
    """
    return bound + 0.5 * _Z


def detectable_gap(n: int, expected: float, least: float) -> float | None:
    """The accuracy lost on E, as a negative difference, that G2 fails with 80 % power: so many
    wrong answers among n that the accuracy lies more than -least under the expected one; None
    where even n of n are not enough. Where that is nearly 1, a gain cannot be found at all."""
    wrong = n - math.ceil((expected + least) * n) + 1
    return None if wrong > n else 1.0 - _least_rate(n, wrong) - expected


def detectable_count(n: int, bound: float) -> float | None:
    """The expected number of outliers among n that G3 fails with 80 % power, all n alike: n
    times the q of P(Binomial(n, q) > bound) = 0.8; None where even n of n pass."""
    return None if n <= bound else n * _least_rate(n, math.floor(bound) + 1)


def detectable_rate(n: int, bound: float, level: float, tests: int = TESTS + 1) -> float | None:
    """The rate that G4 fails with 80 % power: more hits among n than `bound` explains, in an
    exact one-sided binomial test; None where even n of n hits are not enough.

    tests: one more than G1 to G3 have.
    """
    hits = np.arange(n + 1)
    failing = (scipy.stats.binom.sf(hits - 1, n, bound) <= level / tests) & (hits > bound * n)
    return _least_rate(n, int(np.argmax(failing))) if failing.any() else None


def _least_rate(n: int, hits: int) -> float:
    """The q of P(Binomial(n, q) >= hits) = 0.8."""
    return float(scipy.stats.beta.ppf(POWER, hits, n - hits + 1))
