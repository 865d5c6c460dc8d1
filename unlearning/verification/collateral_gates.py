"""G6: what became of the samples that stay? And G0: does a near-copy of the erased stay too?"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import scipy
import torch

from unlearning.verification.gate import Gate
from unlearning.verification.placements import below
from unlearning.verification.scores import Int, Scores
from unlearning.verification.thresholds import Thresholds

NEIGHBOURS = 5
NEAR_QUANTILE = 0.001
MOST_ERASED = 2000
"""Erased samples whose neighbours are looked for: enough for any rate, and bounded in cost."""

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]
_TILE = 512


def nearest(of: Matrix, among: Matrix, k: int) -> tuple[Int, Matrix]:
    """The k nearest rows, by Euclidean distance in mu-space, nearest first: indices [n, k],
    distances [n, k]. By torch: its partial sort is several times as fast as NumPy's."""
    k = min(k, len(among))
    pool = torch.from_numpy(among)
    squares = pool.square().sum(dim=1)
    indices, distances = [], []
    for part in torch.split(torch.from_numpy(of), 256):  # bounds the distance matrix
        found = torch.addmm(squares, part, pool.T, alpha=-2.0).topk(k, largest=False)
        square = found.values + part.square().sum(dim=1, keepdim=True)
        indices.append(found.indices)
        distances.append(square.clamp_min(0.0).sqrt())
    return torch.cat(indices).numpy(), torch.cat(distances).numpy()


def least_distance(of: Matrix, among: Matrix) -> Vector:
    """The Euclidean distance to the nearest row, float32[n].

    Tile by tile, so that no matrix of distances leaves the processor's cache: of 10,000 rows among
    20,000 a fifth (16 columns) to a half (147) of the time of `nearest`.
    """
    pool = torch.from_numpy(among)
    squared = pool.square().sum(dim=1)
    tiles = list(zip(torch.split(pool, _TILE), torch.split(squared, _TILE), strict=True))
    distances = []
    for part in torch.split(torch.from_numpy(of), _TILE):
        least = torch.full((len(part),), math.inf)
        for rows, squares in tiles:
            found = torch.addmm(squares, part, rows.T, alpha=-2.0).amin(dim=1)
            least = torch.minimum(least, found)
        distances.append((least + part.square().sum(dim=1)).clamp_min(0.0).sqrt())
    return torch.cat(distances).numpy()


def scope_gate(erased: Scores, held: Scores, remaining: Scores, level: float = 0.05) -> Gate:
    """Erased samples with a remaining one nearer than unseen samples ever have theirs.

    Near is under the 0.1 % quantile of held-out samples' distance to their nearest remaining
    one, in the mu-space of the model before. INCONCLUSIVE when there are more than that
    explains (one-sided binomial test at `level`): a reviewer decides; exact copies have been
    erased already.
    """
    mine = erased.mu[:MOST_ERASED]
    unseen, found = (least_distance(mu, remaining.mu) for mu in (held.mu, mine))
    near = float(np.quantile(unseen, NEAR_QUANTILE, method="lower"))
    count = int((found < near).sum())
    p_value = float(scipy.stats.binom.sf(count - 1, len(mine), max(NEAR_QUANTILE, 1.0 / len(held))))
    return Gate(
        "G0",
        "near_copies",
        "erased samples with a suspiciously near remaining one",
        float(count),
        float(count),
        float(count),
        0.0,
        float(scipy.stats.binom.ppf(1.0 - level, len(mine), NEAR_QUANTILE)),
        len(mine),
        "INCONCLUSIVE" if count and p_value <= level else "PASS",
        detail={"p_value": p_value, "near": near},
    )


def neighbour_gate(
    erased_before: Scores,
    remaining_before: Scores,
    remaining_after: Scores,
    limits: Thresholds,
) -> Gate:
    """Accuracy lost on the remaining neighbours of E (5 each, in the mu-space before).

    The one-sided 95 % lower bound is of the paired difference's mean.
    """
    indices, _ = nearest(erased_before.mu[:MOST_ERASED], remaining_before.mu, NEIGHBOURS)
    chosen = np.unique(indices)
    lost = remaining_before.right[chosen].astype(float) - remaining_after.right[chosen]
    error = float(lost.std()) / math.sqrt(len(lost))
    mean = float(lost.mean())
    return _loss(
        "neighbours",
        "accuracy lost on the remaining neighbours of the erased",
        mean,
        error,
        limits.neighbour_loss,
        len(chosen),
    )


def membership_rise_gate(
    remaining_before: Scores,
    remaining_after: Scores,
    held_before: Scores,
    held_after: Scores,
    limits: Thresholds,
) -> Gate:
    """Has the membership AUC of the remaining samples risen? Erasing one must not expose others.

    The difference of two correlated AUCs, by the differences of their placements (DeLong 1988).
    """
    inner = below(remaining_after.margin, held_after.margin)
    inner -= below(remaining_before.margin, held_before.margin)
    outer = below(held_after.margin, remaining_after.margin)
    outer -= below(held_before.margin, remaining_before.margin)
    variance = float(inner.var()) / len(inner) + float(outer.var()) / len(outer)
    return _loss(
        "membership_of_remaining",
        "rise of the membership AUC of remaining samples",
        float(inner.mean()),
        math.sqrt(variance),
        limits.membership_rise,
        len(remaining_after),
    )


def _loss(name: str, what: str, mean: float, error: float, limit: float, n: int) -> Gate:
    z = NormalDist().inv_cdf(0.95)
    low, high = mean - z * error, mean + z * error
    return Gate(
        "G6", name, what, mean, low, high, -1.0, limit, n, "FAIL" if low > limit else "PASS"
    )
