"""G3: is any single erased sample an outlier among held-out ones of its class?"""

from __future__ import annotations

import numpy as np
import scipy

from unlearning.verification.gate import Gate
from unlearning.verification.power import detectable_count
from unlearning.verification.scores import Float, Scores
from unlearning.verification.thresholds import Thresholds

POOLED_UNDER = 100
"""A class with fewer held-out samples is pooled with the others: it has no 1 % tail."""


def conformal_gates(erased: Scores, held: Scores, limits: Thresholds) -> list[Gate]:
    """One test for each tail: how many erased samples have a conformal p-value <= 0.01.

    The p-value of a sample is (1 + held-out samples at least as extreme) / (m + 1) (Vovk et
    al. 2005). Samples of a class share their m held-out ones, so that their count is not
    binomial but beta-binomial: with k = floor(0.01 (m + 1)) extreme places, the chance of
    landing beyond the k-th of m is Beta(k, m + 1 - k) (the coverage of order statistics,
    Wilks 1941). The 99 % quantile of the sum over classes is the bound.
    """
    if len(held) == 0:
        return []
    sizes = {int(c): int((held.labels == c).sum()) for c in np.unique(erased.labels)}
    pooled = [c for c, m in sizes.items() if m < POOLED_UNDER]
    groups = [(erased.labels == c, held.labels == c) for c in sizes if c not in pooled]
    if pooled:
        groups.append((np.isin(erased.labels, pooled), np.ones(len(held), dtype=bool)))
    gates = []
    for tail, sign in (("high", 1.0), ("low", -1.0)):
        count, chances = 0, np.ones(1)
        for mine, others in groups:
            found, k, m = _beyond(sign * erased.margin[mine], sign * held.margin[others], limits)
            n = int(mine.sum())
            if k:
                count += found
                chances = np.convolve(
                    chances, scipy.stats.betabinom.pmf(np.arange(n + 1), n, k, m + 1 - k)
                )
        at_most = chances.cumsum()
        bound = float(np.searchsorted(at_most, limits.conformal_quantile))
        gates.append(
            Gate(
                "G3",
                f"outliers_{tail}",
                f"erased samples whose margin is extreme ({tail}) among held-out ones",
                float(count),
                float(count),
                float(count),
                0.0,
                bound,
                len(erased),
                "FAIL" if count > bound else "PASS",
                p_value=float(chances[count:].sum()),
                detectable=detectable_count(len(erased), bound),
                citation="Vovk, Gammerman, Shafer 2005; Wilks 1941",
                detail={"pooled_classes": pooled, "level": limits.conformal_level},
            )
        )
    return gates


def _beyond(mine: Float, pool: Float, limits: Thresholds) -> tuple[int, int, int]:
    """Samples beyond the k-th most extreme of m, and k and m."""
    m = len(pool)
    k = int(limits.conformal_level * (m + 1))
    return (int((mine > np.sort(pool)[m - k]).sum()) if k else 0), k, m
