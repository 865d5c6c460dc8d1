"""Scores as a model might give them, made by hand."""

from __future__ import annotations

import numpy as np

from unlearning.verification.scores import Scores


def scores(
    n: int,
    *,
    shift: float = 0.0,
    right: float = 0.95,
    classes: int = 4,
    seed: int = 0,
    spread: float = 2.0,
    labels: np.ndarray | None = None,
) -> Scores:
    """n samples whose scores are normal around `shift`, of which a share `right` is right."""
    rng = np.random.default_rng(seed)
    given = rng.integers(0, classes, n) if labels is None else labels
    return Scores(
        margin=rng.normal(shift, spread, n) + 0.5 * given,
        representation=rng.normal(shift, spread, n),
        labels=given.astype(np.int64),
        right=rng.random(n) < right,
        confidence=rng.uniform(0.5, 1.0, n),
        mu=rng.normal(size=(n, 5)).astype(np.float32),
    )
