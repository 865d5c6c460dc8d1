"""G5: is the model still right? Accuracy, its worst class, calibration, and the drift."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy

from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.scores import Float, Int, Scores
from unlearning.verification.thresholds import Thresholds

DRAWS = 1000
BINS = 15
SPREAD_FROM = 5
"""Classes from which their spread can be told from one that stands out."""
Weights = npt.NDArray[np.float32]

CITATION = "paired bootstrap: Efron and Tibshirani 1993"


def utility_gates(
    before: Scores,
    after: Scores,
    limits: Thresholds,
    *,
    drift_so_far: float = 0.0,
    seed: int = 0,
) -> list[Gate]:
    """Losses on the utility split T, both models on the same samples.

    Each fails when the one-sided 95 % lower bound of its loss, by paired bootstrap, exceeds
    its limit. drift_so_far: accuracy lost by earlier jobs since the last exact retraining.
    Calibration error is over 15 bins of confidence (Guo et al., ICML 2017).
    """
    n = len(after)
    lost = before.right.astype(float) - after.right
    classes = np.unique(before.labels)
    in_class = (before.labels[:, None] == classes).astype(np.float32)
    columns = (
        lost[:, None],
        in_class * lost[:, None],
        in_class,
        _gaps(before),
        _gaps(after),
    )
    table_NX = np.concatenate(columns, axis=1, dtype=np.float32)  # noqa: N806
    cuts = np.cumsum([1, len(classes), len(classes), BINS])
    # One product of resampling weights and everything that is summed serves every gate.
    means = (_resamples(n, seed) @ table_NX) / n
    total, by_class, counts, were, are = np.split(means.astype(float), cuts, axis=1)
    _, losses, shares, was, now = np.split(table_NX.mean(axis=0, dtype=float), cuts)
    drawn = total[:, 0]
    gates = [
        _gate("accuracy", "accuracy lost", lost.mean(), drawn, limits.accuracy_loss, n),
        _gate(
            "drift",
            "accuracy lost since the last exact retraining",
            lost.mean() + drift_so_far,
            drawn + drift_so_far,
            limits.drift_loss,
            n,
        ),
    ]
    class_sizes = in_class.sum(axis=0).astype(int)
    rates = by_class / np.maximum(counts, 1.0 / n)
    gates.append(_worst_class(classes, class_sizes, losses / shares, rates, limits))
    gates.append(
        _gate(
            "calibration",
            "calibration error gained",
            float(np.abs(now).sum() - np.abs(was).sum()),
            np.abs(are).sum(axis=1) - np.abs(were).sum(axis=1),
            limits.calibration_loss,
            n,
        )
    )
    return gates


def _worst_class(
    classes: Int,
    sizes: Int,
    lost_C: Float,  # noqa: N803
    drawn_DC: Float,  # noqa: N803
    limits: Thresholds,
) -> Gate:
    """The class that lost most, at a level shared among the classes (Bonferroni).

    Classes also trade places from one training to another, with no loss in all: a retrained
    model's rise and fall by points. That spread, tau, widens the interval in quadrature (a
    random effect, DerSimonian and Laird 1986). It is taken from the median absolute deviation
    of the classes' losses, less their sampling error, so that one class that pays alone does
    not hide itself.
    """
    level = 0.05 / len(classes)
    worst = int(np.argmax(lost_C))
    tau = 0.0
    if len(classes) >= SPREAD_FROM:
        spread = 1.4826 * float(np.median(np.abs(lost_C - np.median(lost_C))))
        tau = math.sqrt(max(0.0, spread**2 - float(np.median(drawn_DC.var(axis=0)))))
    gate = _gate(
        "worst_class",
        f"accuracy lost in class {classes[worst]}, the one that lost most",
        lost_C[worst],
        drawn_DC[:, worst],
        limits.class_loss,
        int(sizes[worst]),
        level=level,
    )
    wider = tau * float(scipy.stats.norm.isf(level))
    low = gate.statistic - math.hypot(gate.statistic - gate.low, wider)
    high = gate.statistic + math.hypot(gate.high - gate.statistic, wider)
    verdict: Verdict = "FAIL" if low > limits.class_loss else "PASS"
    return replace(
        gate, low=low, high=high, verdict=verdict, detail={"spread_between_classes": tau}
    )


def _resamples(n: int, seed: int) -> Weights:
    """How often each of n samples is drawn in each of DRAWS resamples, [DRAWS, n]."""
    rng = np.random.default_rng(seed)
    times_DN = np.empty((DRAWS, n), np.float32)  # noqa: N806
    for times_N in times_DN:  # noqa: N806
        times_N[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    return times_DN


def _gaps(scores: Scores) -> Weights:
    """Confidence less right, in the column of the sample's bin of confidence, [N, BINS]: the
    expected calibration error is the sum over bins of |mean|."""
    bins = np.minimum((scores.confidence * BINS).astype(int), BINS - 1)
    table = np.zeros((len(scores), BINS), dtype=np.float32)
    table[np.arange(len(scores)), bins] = scores.confidence - scores.right
    return table


def _gate(
    name: str,
    what: str,
    statistic: float,
    drawn: Float,
    limit: float,
    n: int,
    *,
    level: float = 0.05,
) -> Gate:
    low, high = np.quantile(drawn, [level, 1.0 - level])
    return Gate(
        "G5",
        name,
        what,
        float(statistic),
        float(low),
        float(high),
        -1.0,
        limit,
        n,
        "FAIL" if low > limit else "PASS",
        citation=CITATION,
    )
