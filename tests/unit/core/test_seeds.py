"""Seeds of jobs: fresh ones, and within what every generator takes."""

from __future__ import annotations

from core.enlist import new_seed


def test_seeds_differ_and_fit_in_31_bits() -> None:
    seeds = {new_seed() for _ in range(50)}
    assert len(seeds) > 45
    assert all(0 <= seed < 2**31 for seed in seeds)
