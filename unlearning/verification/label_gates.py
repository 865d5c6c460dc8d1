"""G4: planted triggers, contradicted labels, and canaries whose coins were tossed beforehand."""

from __future__ import annotations

import math

import numpy as np
import scipy

from unlearning.verification.contradictions import Contradictions
from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.power import detectable_rate
from unlearning.verification.scores import Bool, Float, Scores
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.trigger import TriggerRates

CLOPPER_PEARSON = "Clopper and Pearson, Biometrika 1934"


def contradicted_gate(
    erased: Scores, held: Scores, found: Contradictions, limits: Thresholds
) -> Gate | None:
    """Surely contradicted erased samples must not be given their old label more than clean ones.

    The clean rate: of those in E, as many as H explains at the most are hard ones, whose label
    is right, and a model that never saw them gives it as often as to such held-out ones (with
    Laplace's rule of succession, for there are few); the others are given theirs never. None
    where there is no excess.
    """
    if not found.excess:
        return None
    mine, hard = found.sure_E, found.sure_H
    n = int(mine.sum())
    hard_rate = (int(held.right[hard].sum()) + 1) / (int(hard.sum()) + 2)
    clean = found.explained / n * hard_rate
    return _rate_gate(
        "contradicted_labels",
        "erased samples that are still given a label which their neighbours contradict",
        int(erased.right[mine].sum()),
        n,
        clean,
        limits,
        {"contradicted_held_out": int(hard.sum())},
    )


def trigger_gate(rates: TriggerRates, clean_rate: float, limits: Thresholds) -> Gate:
    """The trigger on held-out images may yield its target as often as clean images do, + rise."""
    return _rate_gate(
        "trigger",
        "held-out images with the trigger that are given its target",
        round(rates.success * rates.samples),
        rates.samples,
        clean_rate,
        limits,
        {"undone": rates.undone},
    )


def _rate_gate(
    name: str,
    what: str,
    hits: int,
    n: int,
    clean_rate: float,
    limits: Thresholds,
    detail: dict[str, float],
) -> Gate:
    """FAIL above clean rate + rise; INCONCLUSIVE when only the one-sided 95 % bound is."""
    bound = min(1.0, clean_rate + limits.trigger_rise)
    low, high = clopper_pearson(hits, n, 0.90)
    rate = hits / n
    verdict: Verdict = "FAIL" if rate > bound else "INCONCLUSIVE" if high > bound else "PASS"
    return Gate(
        "G4",
        name,
        what,
        rate,
        low,
        high,
        0.0,
        bound,
        n,
        verdict,
        p_value=float(scipy.stats.binom.sf(hits - 1, n, bound)),
        power=float(scipy.stats.binom.cdf(_most_hits(n, bound), n, min(clean_rate, bound))),
        detectable=detectable_rate(n, bound, limits.level),
        citation=CLOPPER_PEARSON,
        detail={"clean_rate": clean_rate, **detail},
    )


def _most_hits(n: int, bound: float) -> int:
    """The most hits whose upper bound still lies within `bound`; -1 when none does."""
    hits = np.arange(n + 1)
    upper = np.where(hits < n, scipy.stats.beta.ppf(0.95, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return int((upper <= bound).sum()) - 1


def clopper_pearson(hits: int, n: int, level: float) -> tuple[float, float]:
    """The exact two-sided interval of a proportion at `level`, 0..1."""
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(scipy.stats.beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(scipy.stats.beta.ppf(1.0 - tail, hits + 1, n - hits))
    return low, high


def canary_gate(
    scores_K: Float,  # noqa: N803
    coins_K: Bool,  # noqa: N803
    limits: Thresholds,
    before_K: Float | None = None,  # noqa: N803
) -> Gate:
    """Guess which canaries of the erased group had been trained on: half of them by chance.

    scores_K: a score of each canary, trained on or not; coins_K: boolean, it was. The half
    with the highest scores is guessed "trained on". Fails when the guesses are better than
    chance, and when they are worse: then the half with the lowest scores gives the coins away
    (over-forgetting). The test is two-sided and binomial; epsilon is the privacy parameter whose
    guesser they would need (Steinke, Nasr, Jagielski 2023, "Privacy auditing with one training
    run", with no abstention).

    detail: caught, the chance that a model which remembers all of them is; and epsilon.

    before_K: the scores by the model before. Where that did not give the coins away either,
    it had not learnt them, and their being unguessable shows nothing: INCONCLUSIVE.
    """
    n = len(scores_K)
    if n < 2:
        raise ValueError(f"a canary group of {n} cannot be guessed: it needs at least 2")
    right, p_value = _guessed(scores_K, coins_K)
    low, high = clopper_pearson(right, n, 0.90)
    best = max(low, 1.0 - high)
    detail = {
        "epsilon_lower_bound": math.log(best / (1.0 - best)) if 0.5 < best < 1.0 else 0.0,
        "caught": _caught(n, limits.level),
    }
    chance = _by_chance(n, limits.level)
    verdict: Verdict = "FAIL" if p_value <= limits.level else "PASS"
    if before_K is not None:
        right_before, p_before = _guessed(before_K, coins_K)
        detail["guessed_before"] = right_before / n
        if verdict == "PASS" and p_before > limits.level:
            verdict = "INCONCLUSIVE"
    return Gate(
        "G4",
        "canaries",
        "coins of an erased canary group that are guessed from scores",
        right / n,
        low,
        high,
        1.0 - chance,
        chance,
        n,
        verdict,
        p_value=p_value,
        power=_unguessed(n, limits.level),
        detectable=detectable_rate(n, 0.5, limits.level / 2.0),  # either side
        citation=f"Steinke et al. 2023; {CLOPPER_PEARSON}",
        detail=detail,
    )


def _guessed(scores_K: Float, coins_K: Bool) -> tuple[int, float]:  # noqa: N803
    """Coins guessed right, and the two-sided chance of so many or so few by tossing others."""
    n = len(scores_K)
    guess = np.zeros(n, dtype=bool)
    guess[np.argsort(-scores_K, kind="stable")[: n // 2]] = True
    right = int((guess == coins_K).sum())
    return right, _two_sided(right, n)


def _two_sided(right: int, n: int) -> float:
    """p of the exact binomial test of 1/2: twice the smaller tail."""
    return min(1.0, 2.0 * float(scipy.stats.binom.sf(max(right, n - right) - 1, n, 0.5)))


def _by_chance(n: int, level: float) -> float:
    """The greatest share of right guesses that is not yet told from chance at `level`."""
    return max(right for right in range(n // 2, n + 1) if _two_sided(right, n) > level) / n


def no_canaries_left() -> Gate:
    """Every canary group has been spent: this test decides nothing any more."""
    return Gate(
        "G4",
        "canaries",
        "no unused canary group is left",
        0.0,
        0.0,
        1.0,
        0.0,
        0.5,
        0,
        "INCONCLUSIVE",
        citation="Steinke et al. 2023",
    )


def _unguessed(n: int, level: float) -> float:
    """The chance that the coins of a group that was never learnt are not told from chance."""
    right = np.arange(n + 1)
    passes = np.array([_two_sided(int(each), n) > level for each in right])
    return float(scipy.stats.binom.pmf(right, n, 0.5)[passes].sum())


def _caught(n: int, level: float) -> float:
    """The chance that a model which remembers every canary is caught at this group size.

    It ranks the trained ones first, and half are guessed: of n coins, h of them heads, all but
    |h - n // 2| are guessed right.
    """
    heads = np.arange(n + 1)
    right = n - np.abs(heads - n // 2)
    caught = np.array([_two_sided(int(each), n) <= level for each in right])
    return float(scipy.stats.binom.pmf(heads, n, 0.5)[caught].sum())
