"""G8 (optional): does the model learn the erased samples again faster than ones it never saw?

What a model gives away by its answers, G1 to G4 see. What only its weights still hold shows
when it is taught a little: the rest comes back (Golatkar et al., CVPR 2020, section 6).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import scipy

from unlearning.samples import Samples
from unlearning.triggers import Trigger
from unlearning.verification.contradictions import Contradictions
from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.relearning_match import Relearned, match, relearn
from unlearning.verification.scores import Float
from unlearning.verification.thresholds import Thresholds
from unlearning.vib import VIB

LEAST = 20
"""Erased samples, beside those that are taught, from which their mean can be bootstrapped."""
DRAWS = 1000
"""Of the bootstrap."""
FASTEST = 100.0
"""The greatest ratio that is told."""
NAME = "relearning"

CITATION = "Golatkar et al. 2020 (time to relearn); bootstrap: Efron and Tibshirani 1993"

_Z95, _Z80 = NormalDist().inv_cdf(0.95), NormalDist().inv_cdf(0.8)


def relearning_gate(
    model: VIB,
    erased: Samples,
    held: Samples,
    found: Contradictions | None,
    limits: Thresholds,
    trigger: Trigger | None = None,
    *,
    seed: int = 0,
) -> Gate:
    """What relearning shows; INCONCLUSIVE where there is little that could be learned again."""
    fresh = match(model, erased, held, found, trigger)
    if len(fresh.asked_n) <= LEAST:
        return _too_few(len(fresh.asked_n), limits)
    return compare(relearn(model, erased, held, fresh, trigger, seed=seed), limits, seed)


def compare(seen: Relearned, limits: Thresholds, seed: int = 0) -> Gate:
    """The drop of the rest's mean loss over that of fresh samples, groups weighted as in E.

    Both drops are counted from where a fresh sample starts: one that is half remembered begins
    lower, and is no slower for it. The ratio is 0 where the rest has not dropped, and FASTEST at
    the most, which is also said where the rest has dropped and the fresh samples have not. Its
    90 % interval is bootstrapped over erased samples and, within each class, over held-out ones.

    FAIL when it lies above the limit. PASS when it lies at or below it, if the fresh samples
    have learned something, in every draw. INCONCLUSIVE else, and for fewer than LEAST samples.

    power and detectable take the rest's drop less `limit` times the fresh one's for normal, with
    the variance that fresh samples show.
    """
    n = len(seen.after_n)
    if n < LEAST:
        return _too_few(n, limits)
    limit = limits.relearning_ratio
    weight_G = np.bincount(seen.group_n, minlength=len(seen.class_G)) / n  # noqa: N806
    start, end = (
        float(weight_G @ np.array([losses.mean() for losses in each]))
        for each in (seen.fresh_before, seen.fresh_after)
    )
    drop_D, fresh_D = _drawn(seen, seed)  # noqa: N806
    low, high = np.quantile(_ratio(drop_D, fresh_D), [0.05, 0.95], method="inverted_cdf")
    learned = start > end and bool(fresh_D.min() > 0.0)
    verdict: Verdict = "INCONCLUSIVE"
    if low > limit:
        verdict = "FAIL"
    elif high <= limit and learned:
        verdict = "PASS"
    # Where losses have no spread at all the error is 0.
    error = max(_error(seen, weight_G, limit) / (start - end), 1e-9) if learned else None
    after = float(seen.after_n.mean())
    return Gate(
        "G8",
        NAME,
        "how much faster than fresh samples the erased ones are learned again",
        float(_ratio(np.array([start - after]), np.array([start - end]))[0]),
        float(low),
        float(high),
        0.0,
        limit,
        n,
        verdict,
        p_value=float((1 + (_ratio(drop_D, fresh_D) <= limit).sum()) / (1 + DRAWS)),
        power=float(scipy.stats.norm.cdf((limit - 1.0) / error - _Z95)) if error else 0.0,
        detectable=limit + (_Z95 + _Z80) * error if error else None,
        citation=CITATION,
        detail={
            "erased_before": float(seen.before_n.mean()),
            "erased_after": after,
            "fresh_before": start,
            "fresh_after": end,
        },
    )


def _too_few(n: int, limits: Thresholds) -> Gate:
    why = "too few erased samples have a label that fresh ones are not given as well"
    return Gate(
        *("G8", NAME, why, 0.0, 0.0, FASTEST, 0.0, limits.relearning_ratio, n),
        "INCONCLUSIVE",
        power=0.0,
        citation=CITATION,
    )


def _ratio(drop_D: Float, fresh_D: Float) -> Float:  # noqa: N803
    """drop / fresh, from 0 to FASTEST."""
    rises = np.where(drop_D > 0.0, FASTEST, 0.0)
    ratio = np.divide(drop_D, fresh_D, out=rises, where=fresh_D > 0.0)
    return np.clip(ratio, 0.0, FASTEST)


def _drawn(seen: Relearned, seed: int) -> tuple[Float, Float]:
    """Bootstrapped mean drops of the rest and of fresh samples, both from a fresh start, [D]."""
    rng = np.random.default_rng(seed)
    n, groups = len(seen.after_n), len(seen.class_G)
    chosen_Dn = rng.integers(0, n, (DRAWS, n))  # noqa: N806
    rest_D = seen.after_n[chosen_Dn].mean(axis=1)  # noqa: N806
    cells = np.arange(DRAWS)[:, None] * groups + seen.group_n[chosen_Dn]
    counts = np.bincount(cells.ravel(), minlength=DRAWS * groups)
    share_DG = counts.reshape(DRAWS, groups) / n  # noqa: N806
    start_D, end_D = np.zeros(DRAWS), np.zeros(DRAWS)  # noqa: N806
    for true in np.unique(seen.class_G):
        mine = np.flatnonzero(seen.class_G == true)
        m = len(seen.fresh_after[mine[0]])
        times_Dm = rng.multinomial(m, np.full(m, 1.0 / m), DRAWS) / m  # noqa: N806
        for g in mine:
            start_D += share_DG[:, g] * (times_Dm @ seen.fresh_before[g])  # noqa: N806
            end_D += share_DG[:, g] * (times_Dm @ seen.fresh_after[g])  # noqa: N806
    return start_D - rest_D, start_D - end_D


def _error(seen: Relearned, weight_G: Float, limit: float) -> float:  # noqa: N803
    """The standard error of (1 - limit) start + limit end - rest, the rest being like fresh
    samples, the groups' shares fixed."""
    n = len(seen.after_n)
    variance = float(weight_G @ np.array([each.var() for each in seen.fresh_after])) / n
    for true in np.unique(seen.class_G):
        mine = np.flatnonzero(seen.class_G == true)
        sums = sum(
            weight_G[g] * ((1.0 - limit) * seen.fresh_before[g] + limit * seen.fresh_after[g])
            for g in mine
        )
        variance += float(np.var(sums)) / len(seen.fresh_after[mine[0]])
    return math.sqrt(variance)
