"""The figures of gates, computed anew from logits: SciPy, scikit-learn and NumPy, nothing of
`unlearning.verification`. Slow and plain on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

Array = np.ndarray
Z90, Z80 = stats.norm.ppf(0.95), stats.norm.ppf(0.8)
TESTS = 5  # corrected tests of a request without G4, one more for G4's own


@dataclass
class Seen:
    """One model's answers to one set, as captured: logits [N, C], mu and log_var [N, K]."""

    logits: Array
    mu: Array
    log_var: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Array) -> Seen:
        return Seen(self.logits[chosen], self.mu[chosen], self.log_var[chosen], self.labels[chosen])

    @property
    def right(self) -> Array:
        return self.logits.argmax(axis=1) == self.labels

    @property
    def probability(self) -> Array:
        return special.softmax(self.logits, axis=1).max(axis=1)

    def score(self, name: str) -> Array:
        if name == "representation":
            return 0.5 * (self.mu**2 + np.exp(self.log_var) - self.log_var - 1).sum(axis=1)
        margins = []
        for row, label in zip(self.logits, self.labels, strict=True):
            margins.append(row[label] - special.logsumexp(np.delete(row, label)))
        return np.array(margins)


def psi(a: Array, b: Array) -> Array:
    """1 where a is above b, 1/2 where equal, [len(a), len(b)]."""
    return (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])


def membership(e: Seen, h: Seen, score: str, band: float, level: float) -> dict[str, Any]:
    """G1: scikit-learn's AUC in each class; DeLong's variance from all pairs."""
    x, y = e.score(score), h.score(score)
    n = len(e)
    auc = within = null = 0.0
    placed: list[float] = []
    for c in set(e.labels.tolist()):
        mine, others = x[e.labels == c], y[h.labels == c]
        truth = np.r_[np.ones(len(mine)), np.zeros(len(others))]
        w = len(mine) / n
        auc += w * roc_auc_score(truth, np.r_[mine, others])
        pairs = psi(mine, others)
        placed += pairs.mean(axis=1).tolist()
        within += w**2 * pairs.mean(axis=0).var(ddof=1) / len(others)
        null += w**2 * (len(mine) + len(others) + 1) / (12 * len(mine) * len(others))
    spread = max(np.var(placed, ddof=1) / n + within, null) ** 0.5
    beyond = abs(auc - 0.5) - band
    return {
        "statistic": auc,
        "low": max(0.0, auc - Z90 * spread),
        "high": min(1.0, auc + Z90 * spread),
        "least": 0.5 - band,
        "most": 0.5 + band,
        "samples": n,
        "p_value": stats.norm.sf(beyond / spread),
        "power": max(0.0, 2 * stats.norm.cdf(band / null**0.5 - Z90) - 1),
        "detectable": _auc_found(n, int(np.isin(h.labels, e.labels).sum()), band, level),
        "standard_error": spread,
        "held_out": np.isin(h.labels, e.labels).sum(),
        "fails": auc - Z90 * spread > 0.5 + band or auc + Z90 * spread < 0.5 - band,
        "undecided": not (auc - Z90 * spread >= 0.5 - band and auc + Z90 * spread <= 0.5 + band),
    }


def _auc_found(n: int, m: int, band: float, level: float) -> float | None:
    """By search over a fine grid: Hanley and McNeil's error."""
    a = np.linspace(0.5 + band, 1.0, 400_001)
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)) / (n * m))
    bound = stats.norm.isf(level / TESTS) * np.maximum(error, np.sqrt((n + m + 1) / 12 / n / m))
    enough = a - 0.5 - band >= bound + Z80 * error
    return float(a[enough.argmax()]) if enough.any() else None


def distance(e: Seen, h: Seen, quantile: float, bound: float) -> dict[str, Any]:
    """G2: SciPy's one-sample test of placements within the class, and a permutation null, as near
    as two permutations come. bound: the one in force, drawn by the gate's own."""
    rng = np.random.default_rng(2024)
    x, y = e.score("margin"), h.score("margin")
    found, sizes = [], []
    nulls: list[list[Array]] = [[] for _ in range(600)]
    for c in set(e.labels.tolist()):
        mine, pool = x[e.labels == c], y[h.labels == c]
        found.append(psi(mine, pool).mean(axis=1))
        sizes.append((len(mine), len(pool)))
        for draw in nulls:
            mixed = rng.permutation(np.r_[mine, pool])
            draw.append(psi(mixed[: len(mine)], mixed[len(mine) :]).mean(axis=1))
    statistic = stats.kstest(np.concatenate(found), "uniform").statistic * _root(sizes)
    drawn = np.array([stats.kstest(np.concatenate(d), "uniform").statistic for d in nulls])
    drawn *= _root(sizes)
    return {
        "statistic": statistic,
        "low": statistic,
        "high": statistic,
        "least": 0.0,
        "samples": len(e),
        "most": (np.quantile(drawn, quantile), 0.12 * bound),
        "p_value": ((drawn >= statistic - 1e-9).mean(), 0.1),
        "detectable": bound + 0.5 * Z80,
        "draws": 400,
        "fails": statistic > bound,
    }


def _root(sizes: list[tuple[int, int]]) -> float:
    total = sum(n for n, _ in sizes)
    return sum((n / total) ** 2 * (1 / n + 1 / m) for n, m in sizes) ** -0.5


def accuracy(e: Seen, h: Seen, least_gap: float) -> dict[str, Any]:
    """G2: the predictive distribution of right answers, added up sample by sample."""
    n, expected = len(e), 0.0
    chances = [1.0]
    for c in set(e.labels.tolist()):
        k = int((e.labels == c).sum())
        x, m = int(h.right[h.labels == c].sum()), int((h.labels == c).sum())
        expected += k / n * x / m
        law = stats.betabinom(k, x + 0.5, m - x + 0.5)
        chances = [
            sum(chances[i] * law.pmf(j - i) for i in range(len(chances)) if 0 <= j - i <= k)
            for j in range(len(chances) + k)
        ]
    p, counts = np.array(chances), np.arange(n + 1)
    tail = stats.norm.sf(3)
    fewest = next(j for j in counts if p[: j + 1].sum() > tail)
    highest = next(j for j in counts if p[j + 1 :].sum() <= tail)
    least = min(-least_gap, fewest / n - expected)
    most = max(least_gap, highest / n - expected)
    gap = e.right.mean() - expected
    enough = math.ceil((expected + least) * n - 1e-9) - 1
    deviation = math.sqrt((p * (counts - p @ counts) ** 2).sum()) / n
    return {
        "statistic": gap,
        "low": gap - Z90 * deviation,
        "high": gap + Z90 * deviation,
        "least": least,
        "most": most,
        "samples": n,
        "standard_error": deviation,
        "held_out_accuracy": expected,
        # The accuracy at which four models of five are found: as many wrong as that or more.
        "detectable": lambda lost: (
            abs(stats.binom.cdf(enough, n, expected + lost) - 0.8) < 1e-3 and lost < 0
        ),
        "fails": not least - 1e-12 <= gap <= most + 1e-12,
        "undecided": n < 30,
    }


def outliers(e: Seen, h: Seen, sign: int, level: float, quantile: float) -> dict[str, Any]:
    """G3: each conformal p-value by counting; every class is pooled in so small a set."""
    assert all((h.labels == c).sum() < 100 for c in set(e.labels.tolist()))
    x, y = sign * e.score("margin"), sign * h.score("margin")
    count = sum((1 + sum(y >= one)) / (len(y) + 1) <= level for one in x)
    n, m = len(x), len(y)
    k = math.floor(level * (m + 1))
    law = stats.betabinom(n, k, m + 1 - k)
    most = law.ppf(quantile)
    return {
        "statistic": count,
        "low": count,
        "high": count,
        "least": 0,
        "most": most,
        "samples": n,
        "p_value": law.pmf(np.arange(count, n + 1)).sum(),
        "detectable": lambda expected: abs(stats.binom.sf(most, n, expected / n) - 0.8) < 1e-3,
        "pooled_classes": sorted(set(e.labels.tolist())),
        "level": level,
        "fails": count > most,
    }


def calibration_error(seen: Seen) -> float:
    """Fifteen bins of confidence, one after the other."""
    total = 0.0
    for i in range(15):
        inside = (seen.probability >= i / 15) & (seen.probability < (i + 1) / 15)
        inside |= (i == 14) & (seen.probability == 1.0)
        if inside.any():
            gap = abs(seen.probability[inside].mean() - seen.right[inside].mean())
            total += inside.mean() * gap
    return total


def utility(before: Seen, after: Seen, drift: float) -> dict[str, tuple[float, Array]]:
    """G5: each statistic and its bootstrap, resample by resample; for worst_class by class."""
    rng = np.random.default_rng(7)
    n = len(before)
    lost = before.right.astype(float) - after.right
    drawn: dict[str, list[float]] = {"accuracy": [], "calibration": []}
    for _ in range(600):
        chosen = rng.integers(0, n, n)
        drawn["accuracy"].append(lost[chosen].mean())
        gained = calibration_error(after[chosen]) - calibration_error(before[chosen])
        drawn["calibration"].append(gained)
    gained = calibration_error(after) - calibration_error(before)
    accuracies = np.array(drawn["accuracy"])
    return {
        "accuracy": (lost.mean(), accuracies),
        "drift": (lost.mean() + drift, accuracies + drift),
        "calibration": (gained, np.array(drawn["calibration"])),
    }


def worst_class(before: Seen, after: Seen) -> tuple[int, float, float, float, float]:
    """G5: the class, what it lost, and its interval: resamples of each class, the spread of the
    classes added in quadrature; and that spread."""
    rng = np.random.default_rng(8)
    lost = before.right.astype(float) - after.right
    mine = {c: lost[before.labels == c] for c in sorted(set(before.labels.tolist()))}
    means = np.array([x.mean() for x in mine.values()])
    drawn = [rng.choice(x, (4000, len(x))).mean(axis=1) for x in mine.values()]
    tau2 = (1.4826 * np.median(abs(means - np.median(means)))) ** 2
    tau2 = max(0.0, tau2 - np.median([d.var() for d in drawn]))
    level, i = 0.05 / len(mine), int(means.argmax())
    wider = stats.norm.isf(level) ** 2 * tau2
    low, high = np.quantile(drawn[i], [level, 1 - level])
    low = means[i] - math.sqrt((means[i] - low) ** 2 + wider)
    high = means[i] + math.sqrt((high - means[i]) ** 2 + wider)
    return list(mine)[i], means[i], low, high, math.sqrt(tau2)


def neighbours(erased: Seen, was: Seen, now: Seen) -> dict[str, Any]:
    """G6: five nearest by scikit-learn, each counted once."""
    found = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(was.mu).kneighbors(erased.mu)[1]
    chosen = np.array(sorted(set(found.ravel().tolist())))
    lost = was.right[chosen].astype(float) - now.right[chosen]
    error = math.sqrt(((lost - lost.mean()) ** 2).mean() / len(lost))
    return _interval(lost.mean(), error, len(lost))


def exposure(was: Seen, now: Seen, held_was: Seen, held_now: Seen) -> dict[str, Any]:
    """G6: the difference of two AUCs on the same samples (DeLong), from all pairs."""
    a = psi(now.score("margin"), held_now.score("margin"))
    b = psi(was.score("margin"), held_was.score("margin"))
    apart = a - b
    error = math.sqrt(
        apart.mean(axis=1).var() / len(now) + apart.mean(axis=0).var() / len(held_now)
    )
    return _interval(apart.mean(), error, len(now))


def _interval(mean: float, error: float, n: int) -> dict[str, Any]:
    return {
        "statistic": mean,
        "low": mean - Z90 * error,
        "high": mean + Z90 * error,
        "least": -1.0,
        "samples": n,
    }


def near_copies(erased: Seen, held: Seen, remaining: Seen) -> dict[str, Any]:
    """G0: distances to the nearest remaining sample, by scikit-learn."""
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(remaining.mu)
    unseen, mine = (index.kneighbors(s.mu)[0][:, 0] for s in (held, erased))
    near = np.sort(unseen)[math.floor(0.001 * (len(unseen) - 1))]
    count = int((mine < near).sum())
    rare = max(0.001, 1 / len(unseen))
    chance = stats.binomtest(count, len(mine), rare, alternative="greater").pvalue
    return {
        "statistic": count,
        "low": count,
        "high": count,
        "least": 0,
        "most": stats.binom.ppf(0.95, len(mine), 0.001),
        "samples": len(mine),
        "near": near,
        "p_value": chance,
        "undecided": count > 0 and chance <= 0.05,
        "fails": False,
    }


def holm(p_values: dict[str, float], level: float) -> set[str]:
    """The tests whose hypothesis is rejected."""
    rejected: set[str] = set()
    for i, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > level / (len(p_values) - i):
            break
        rejected.add(name)
    return rejected
