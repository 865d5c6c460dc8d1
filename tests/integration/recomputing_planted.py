"""G4, G7 and G8, computed anew: labels, triggers, canaries, relearning. SciPy, scikit-learn and
torch's own Adam, nothing of `unlearning.verification`. See `recomputing`."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from scipy import special, stats

from tests.integration.recomputing import TESTS, Z80, Z90, Array
from unlearning import VIB

FIRST_LOSS = math.log(2)


def rate(hits: int, n: int, clean: float, rise: float, level: float) -> dict[str, Any]:
    """G4: exact binomial tests and intervals, SciPy's own."""
    bound = min(1.0, clean + rise)
    interval = stats.binomtest(hits, n).proportion_ci(0.90, method="exact")
    upper = [stats.binomtest(k, n).proportion_ci(0.90, method="exact").high for k in range(n + 1)]
    passing = [k for k in range(n + 1) if upper[k] <= bound]
    p = [stats.binomtest(k, n, bound, alternative="greater").pvalue for k in range(n + 1)]
    failing = [k for k in range(n + 1) if k / n > bound and p[k] <= level / (TESTS + 1)]
    return {
        "statistic": hits / n,
        "low": interval.low,
        "high": interval.high,
        "least": 0.0,
        "most": bound,
        "samples": n,
        "p_value": p[hits],
        "power": sum(stats.binom.pmf(k, n, clean) for k in passing),
        "detectable": found_by(lambda q: stats.binom.sf(failing[0] - 1, n, q)) if failing else None,
        "clean_rate": clean,
        "fails": hits / n > bound,
        "undecided": interval.high > bound,
    }


def found_by(chance: Any) -> Any:
    """A figure is right at which four of five are found."""
    return lambda figure: abs(chance(figure) - 0.8) < 1e-3


def coins(scores: Array, heads: Array, level: float, tests: int) -> dict[str, Any]:
    """G4, G7: guess the best-scored half; an exact two-sided test.

    tests: those it is corrected for beside its level, in what can be detected."""
    n = len(heads)
    best = set(np.argsort(-scores, kind="stable")[: n // 2].tolist())
    right = sum((i in best) == bool(heads[i]) for i in range(n))
    p = [stats.binomtest(k, n).pvalue for k in range(n + 1)]
    chance = max(k for k in range(n + 1) if p[k] > level) / n
    interval = stats.binomtest(right, n).proportion_ci(0.90, method="exact")
    told = max(interval.low, 1.0 - interval.high)
    # One who knows every coin: of h heads, |h - n // 2| guesses have to be wrong.
    caught = sum(
        stats.binom.pmf(h, n, 0.5) for h in range(n + 1) if p[n - abs(h - n // 2)] <= level
    )
    failing = [k for k in range(n // 2 + 1, n + 1) if p[k] <= level / tests]
    return {
        "statistic": right / n,
        "low": interval.low,
        "high": interval.high,
        "least": 1.0 - chance,
        "most": chance,
        "samples": n,
        "p_value": p[right],
        "power": sum(stats.binom.pmf(k, n, 0.5) for k in range(n + 1) if p[k] > level),
        "caught": caught,
        "detectable": found_by(lambda q: stats.binom.sf(failing[0] - 1, n, q)) if failing else None,
        "epsilon_lower_bound": special.logit(told) if 0.5 < told < 1 else 0.0,
        "fails": p[right] <= level,
    }


def losses(model: VIB, images: torch.Tensor) -> Array:
    """-log p of every class, [N, C]."""
    with torch.no_grad():
        logits = model.eval()(model.prepare(images)).logits_BC.double().numpy()
    return -special.log_softmax(logits, axis=1)


def relearning(
    model: VIB,
    erased: tuple[torch.Tensor, torch.Tensor],
    held: tuple[torch.Tensor, torch.Tensor],
    origin: list[tuple[int, bool]],
    plant: Any,
    limit: float,
    seed: int,
) -> dict[str, Any]:
    """G8. erased, held: images, labels. origin: of each erased sample the true class, and whether
    it bears the trigger that `plant` applies."""
    images, labels = erased
    classes = held[1].numpy()
    given = [(*origin[i], int(labels[i])) for i in range(len(labels))]
    clean, with_trigger = held[0], plant(held[0])

    def fresh(pupil: VIB, kind: tuple[int, bool, int]) -> Array:
        true, bears, label = kind
        return losses(pupil, with_trigger if bears else clean)[classes == true, label]

    new = [i for i, kind in enumerate(given) if np.median(fresh(model, kind)) > FIRST_LOSS]
    if len(new) <= 20:
        return {
            "statistic": 0,
            "low": 0,
            "high": 100,
            "least": 0,
            "most": limit,
            "power": 0,
            "samples": len(new),
            "fails": False,
            "undecided": True,
        }
    order = torch.randperm(len(new), generator=torch.Generator().manual_seed(seed)).tolist()
    some = [new[i] for i in order[: round(0.1 * len(new))]]
    rest = [new[i] for i in order[round(0.1 * len(new)) :]]
    pupil = copy.deepcopy(model).eval()
    adam = torch.optim.Adam(pupil.parameters(), lr=1e-3)
    for _ in range(5):
        adam.zero_grad()
        logits = pupil(pupil.prepare(images[some])).logits_BC
        torch.nn.functional.cross_entropy(logits, labels[some]).backward()
        adam.step()
    own = [losses(m, images[rest])[range(len(rest)), labels[rest]] for m in (model, pupil)]
    kinds = [given[i] for i in rest]
    seen = {kind: (fresh(model, kind), fresh(pupil, kind)) for kind in set(kinds)}
    start, end = (np.mean([seen[kind][when].mean() for kind in kinds]) for when in (0, 1))

    rng, drawn = np.random.default_rng(99), []
    for _ in range(1500):
        again = {c: rng.integers(0, (classes == c).sum(), (classes == c).sum()) for c in {*classes}}
        chosen = rng.integers(0, len(rest), len(rest))
        means = {kind: [x[again[kind[0]]].mean() for x in seen[kind]] for kind in seen}
        first, last = (np.mean([means[kinds[i]][when] for i in chosen]) for when in (0, 1))
        drawn.append((first - own[1][chosen].mean(), first - last))
    ratios = np.array([_speed(*each) for each in drawn])
    learned = start > end and min(each[1] for each in drawn) > 0
    error = _error(kinds, seen, limit) / (start - end)
    p_value = np.mean(ratios <= limit)
    return {
        "statistic": _speed(start - own[1].mean(), start - end),
        "low": (np.quantile(ratios, 0.05), 0.02),
        "high": (np.quantile(ratios, 0.95), 0.02),
        "least": 0.0,
        "most": limit,
        "samples": len(rest),
        "p_value": (p_value, 0.05),
        "power": stats.norm.cdf((limit - 1) / error - Z90) if learned else 0.0,
        "detectable": limit + (Z90 + Z80) * error if learned else None,
        "erased_before": own[0].mean(),
        "erased_after": own[1].mean(),
        "fresh_before": start,
        "fresh_after": end,
        "fails": np.quantile(ratios, 0.05) > limit,
        "undecided": np.quantile(ratios, 0.95) > limit or not learned,
    }


def _speed(drop: float, fresh: float) -> float:
    if fresh > 0:
        return min(100.0, max(0.0, drop / fresh))
    return 100.0 if drop > 0 else 0.0


def _error(kinds: list[Any], seen: dict[Any, Any], limit: float) -> float:
    """Of (1 - limit) start + limit end - rest: each erased sample like a fresh one of its kind,
    and the fresh ones of a class shared by every kind of it."""
    n = len(kinds)
    variance = sum(seen[kind][1].var() for kind in kinds) / n**2
    for true in {kind[0] for kind in kinds}:
        shared = sum(
            (1 - limit) * seen[kind][0] + limit * seen[kind][1] for kind in kinds if kind[0] == true
        )
        variance += (shared / n).var() / len(shared)
    return math.sqrt(variance)
