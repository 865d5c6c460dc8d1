"""G3: is any single erased sample an outlier among held-out ones of its class?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from unlearning.verification.gate import Gate
from unlearning.verification.scores import Float, Scores
from unlearning.verification.thresholds import Thresholds

POOLED_UNDER = 100
"""A class with fewer held-out samples is pooled with the others: it has no 1 % tail."""
DRAWS = 4000


def conformal_gates(erased: Scores, held: Scores, limits: Thresholds, seed: int = 0) -> list[Gate]:
    """One test for each tail: how many erased samples have a conformal p-value <= 0.01.

    The p-value of a sample is (1 + held-out samples at least as extreme) / (m + 1) (Vovk et
    al. 2005). Samples of a class share their m held-out ones, so that their count is not
    binomial but beta-binomial: with k = floor(0.01 (m + 1)) extreme places, the chance of
    landing beyond the k-th of m is Beta(k, m + 1 - k) (the coverage of order statistics,
    Wilks 1941). Its 99 % quantile, summed over classes by simulation, is the bound.
    """
    if len(held) == 0:
        return []
    sizes = {int(c): int((held.labels == c).sum()) for c in np.unique(erased.labels)}
    pooled = {c for c, m in sizes.items() if m < POOLED_UNDER}
    rng = np.random.default_rng(seed)
    gates = []
    for tail, sign in (("high", 1.0), ("low", -1.0)):
        count, null = 0, np.zeros(DRAWS)
        for c in sorted(set(sizes) - pooled):
            mine = sign * erased.margin[erased.labels == c]
            found, drawn = _count(mine, sign * held.margin[held.labels == c], limits, rng)
            count, null = count + found, null + drawn
        if pooled:
            mine = sign * erased.margin[np.isin(erased.labels, sorted(pooled))]
            found, drawn = _count(mine, sign * held.margin, limits, rng)
            count, null = count + found, null + drawn
        bound = float(np.quantile(null, limits.conformal_quantile))
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
                p_value=float((1 + (null >= count).sum()) / (1 + DRAWS)),
                citation="Vovk, Gammerman, Shafer 2005; Wilks 1941",
                detail={"pooled_classes": sorted(pooled), "level": limits.conformal_level},
            )
        )
    return gates


def _count(
    mine: Float, pool: Float, limits: Thresholds, rng: np.random.Generator
) -> tuple[int, Float]:
    """Samples beyond the k-th most extreme of the pool, and draws of that count under H0."""
    m = len(pool)
    k = int(limits.conformal_level * (m + 1))
    if k == 0:
        return 0, np.zeros(DRAWS)
    kth = np.sort(pool)[m - k]
    drawn = stats.betabinom.rvs(len(mine), k, m + 1 - k, size=DRAWS, random_state=rng)
    return int((mine > kth).sum()), drawn.astype(float)
