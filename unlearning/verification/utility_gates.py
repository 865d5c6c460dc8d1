"""G5: is the model still right? Accuracy, its worst class, calibration, and the drift."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unlearning.verification.gate import Gate
from unlearning.verification.scores import Float, Scores
from unlearning.verification.thresholds import Thresholds

DRAWS = 1000
BINS = 15
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
    rng = np.random.default_rng(seed)
    weights_DN = rng.multinomial(n, np.full(n, 1.0 / n), size=DRAWS).astype(np.float32)  # noqa: N806
    lost = before.right.astype(float) - after.right.astype(float)
    drawn = weights_DN @ lost / n
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
    worst = _worst_class(before, lost, weights_DN, limits)
    if worst is not None:
        gates.append(worst)
    was, now = (_calibration(scores, weights_DN) for scores in (before, after))
    rise = _calibration(after, np.ones((1, n), np.float32)) - _calibration(
        before, np.ones((1, n), np.float32)
    )
    gates.append(
        _gate(
            "calibration",
            "calibration error gained",
            rise[0],
            now - was,
            limits.calibration_loss,
            n,
        )
    )
    return gates


def _worst_class(
    before: Scores,
    lost: Float,
    weights_DN: Weights,  # noqa: N803
    limits: Thresholds,
) -> Gate | None:
    """The class that lost most, at a level shared among the classes (Bonferroni)."""
    classes = np.unique(before.labels)
    found: Gate | None = None
    for c in classes:
        mine = before.labels == c
        n = int(mine.sum())
        counts = weights_DN[:, mine].sum(axis=1)
        drawn = weights_DN[:, mine] @ lost[mine] / np.maximum(counts, 1.0)
        gate = _gate(
            "worst_class",
            f"accuracy lost in class {c}, the one that lost most",
            lost[mine].mean(),
            drawn,
            limits.class_loss,
            n,
            level=0.05 / len(classes),
        )
        if found is None or gate.statistic > found.statistic:
            found = gate
    return found


def _calibration(scores: Scores, weights_DN: Weights) -> Float:  # noqa: N803
    """Expected calibration error of each resample, [D]."""
    bins = np.minimum((scores.confidence * BINS).astype(int), BINS - 1)
    gap = scores.confidence - scores.right
    table = np.zeros((len(scores), BINS), dtype=np.float32)
    table[np.arange(len(scores)), bins] = gap
    sums: Float = np.abs(weights_DN @ table).sum(axis=1) / weights_DN.sum(axis=1)
    return sums


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
