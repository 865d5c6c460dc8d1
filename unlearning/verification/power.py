"""What a gate would find: the least difference that fails with 80 % power.

A passed test says as much as it could have caught. Each function answers for one gate, at the
sizes at hand, with Holm's correction as it falls on the test that stands out: its p-value must
stay under level / tests.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats

POWER = 0.8
TESTS = 5
"""Tests that are corrected for one another in a request without G4: G1's two, the distance of
G2, G3's two."""

_Z = float(stats.norm.ppf(POWER))


def detectable_auc(erased: int, held: int, band: float, level: float) -> float | None:
    """The AUC above 0.5 that G1 fails with 80 % power; None where even an AUC of 1 is not.

    The error at an AUC A is Hanley and McNeil's (Radiology 1982): A (1 - A) + (n - 1) (A / (2 -
    A) - A^2) + (m - 1) (2 A^2 / (1 + A) - A^2), over n m; under 0.5 it is the same, mirrored.
    """
    needed = float(stats.norm.isf(level / TESTS)) + _Z

    def short(a: float) -> float:
        spread = a * (1 - a)
        spread += (erased - 1) * (a / (2 - a) - a * a) + (held - 1) * (2 * a * a / (1 + a) - a * a)
        return a - 0.5 - band - needed * math.sqrt(max(spread, 0.0) / (erased * held))

    # One sample's AUC has no spread at 1, which tells nothing: its placement is uniform.
    highest = 1.0 - 1.0 / (erased + 1)
    if 0.5 + band >= highest or short(highest) < 0.0:
        return None
    return float(optimize.brentq(short, 0.5 + band, highest))


def detectable_distance(bound: float) -> float:
    """The Kolmogorov-Smirnov distance, times the root of the effective size, that G2 fails with
    80 % power or more.

    At the point where two distributions are farthest apart the empirical distance has a
    standard error of at most 1/2, in these units (Massey, Ann. Math. Statist. 1950).
    """
    return bound + 0.5 * _Z


def detectable_gap(bound: float, error: float) -> float:
    """The difference of accuracies that G2 fails with 80 % power: normal, error as given."""
    return bound + _Z * error


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
    failing = (stats.binom.sf(hits - 1, n, bound) <= level / tests) & (hits > bound * n)
    return _least_rate(n, int(np.argmax(failing))) if failing.any() else None


def _least_rate(n: int, hits: int) -> float:
    """The q of P(Binomial(n, q) >= hits) = 0.8."""
    return float(stats.beta.ppf(POWER, hits, n - hits + 1))
