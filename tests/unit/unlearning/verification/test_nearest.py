"""The nearest rows: those that scikit-learn finds, and those of a look at all of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from unlearning.verification import nearest as module
from unlearning.verification.nearest import Nearness, least_distance, nearest


def test_the_nearest_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    among, of = (rng.normal(size=(n, 6)).astype(np.float32) for n in (500, 300))
    indices, distances = nearest(of, among, 3)
    expected, where = NearestNeighbors(n_neighbors=3).fit(among).kneighbors(of)
    assert np.sort(distances, axis=1) == pytest.approx(expected, abs=1e-3)
    assert (np.sort(indices, axis=1) == np.sort(where, axis=1)).all()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (300, 500), (513, 1025)])
def test_the_least_distances_are_scikit_learns(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    of, among = (rng.normal(size=(rows, 6)).astype(np.float32) for rows in (n, m))
    expected = NearestNeighbors(n_neighbors=1).fit(among).kneighbors(of)[0][:, 0]
    assert least_distance(of, among) == pytest.approx(expected, abs=1e-3)


def rows(n: int, spread: list[float], seed: int) -> np.ndarray:
    """Normal rows with these standard deviations, in directions that are no axes."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(len(spread),) * 2))
    return (rng.normal(size=(n, len(spread))) * spread @ turn).astype(np.float32)


SPREADS = [[5.0, 4.0, 0.3, 0.2, 0.1, 0.1], [1.0] * 5, [2.0], [3.0, 0.0, 0.0]]


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (700, 1), (1300, 900)])
@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_the_lowest_distances_are_those_of_a_look_at_all(
    monkeypatch: pytest.MonkeyPatch, spread: list[float], n: int, m: int, far: float
) -> None:
    monkeypatch.setattr(module, "_TILE", 64)
    of, among = rows(n, spread, 1) + np.float32(far), rows(m, spread, 2) + np.float32(far)
    of[: n // 20] = among[: n // 20][: min(n // 20, m)][:1]  # some are copies
    every = np.sort(least_distance(of, among))
    nearness = Nearness(among)
    for k in {0, min(3, n - 1), n // 10, n - 1}:
        assert nearness.lowest(of, k) == pytest.approx(every[k], rel=1e-5, abs=1e-5 + 1e-3 * far)
    if not far:
        between = float(every[n // 2] + every[min(n // 2 + 1, n - 1)]) / 2
        assert nearness.nearer_than(of, between) == (every < between).sum()
    assert nearness.nearer_than(of, 0.0) == 0


def test_few_rows_are_looked_at_in_all_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = [5.0, 4.0, 0.03, 0.02, 0.01, 0.01]
    of, among = rows(4000, spread, 1), rows(2000, spread, 2)
    nearness, looked = Nearness(among), []

    def watched(part: np.ndarray, pool: np.ndarray) -> np.ndarray:
        looked.append((part.shape, pool.shape[1]))
        return least_distance(part, pool)

    monkeypatch.setattr(module, "least_distance", watched)
    nearness.lowest(of, 4)
    assert looked[0] == ((4000, 2), 2)
    assert 1 <= len(looked[1:]) <= 2, "of eight tiles"
    assert set(looked[1:]) == {((512, 6), 6)}
