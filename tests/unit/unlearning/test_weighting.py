"""Weights of the two objectives: closed forms against brute force, and their limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.weighting import WEIGHTINGS, eq14, equal_norm, gram, weight

vectors = st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


@given(vectors, vectors)
@settings(max_examples=60, deadline=None)
def test_eq14_is_the_shortest_mixture(g_u: torch.Tensor, g_r: torch.Tensor) -> None:
    alpha = float(eq14(gram(torch.stack([g_u, g_r]))))
    assert 0.0 <= alpha <= 1.0
    grid = torch.linspace(0, 1, 501, dtype=torch.float64)[:, None]
    shortest = (grid * g_u + (1 - grid) * g_r).norm(dim=1).min()
    assert float((alpha * g_u + (1 - alpha) * g_r).norm()) <= float(shortest) + 1e-9


@given(vectors, vectors)
@settings(max_examples=60, deadline=None)
def test_equal_norm_makes_both_pull_alike(g_u: torch.Tensor, g_r: torch.Tensor) -> None:
    alpha = float(equal_norm(gram(torch.stack([g_u, g_r]))))
    assert 0.0 <= alpha <= 1.0
    assert alpha * float(g_u.norm()) == pytest.approx((1 - alpha) * float(g_r.norm()), abs=1e-9)


def test_opposite_gradients_of_one_length_weigh_alike() -> None:
    g = torch.tensor([3.0, 4.0])
    assert float(eq14(gram(torch.stack([g, -g])))) == pytest.approx(0.5)
    assert float(equal_norm(gram(torch.stack([g, -g])))) == pytest.approx(0.5)


def test_eq14_follows_the_shorter_gradient_alone_where_both_agree() -> None:
    g = torch.tensor([1.0, 0.0])
    assert float(eq14(gram(torch.stack([3 * g, g])))) == 0.0
    assert float(eq14(gram(torch.stack([g, 3 * g])))) == 1.0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_vanishing_gradients_give_a_finite_weight(weighting: str) -> None:
    alpha = weight(weighting, torch.zeros(2, 2), 0.3)  # type: ignore[arg-type]
    assert 0.0 <= float(alpha) <= 1.0


def test_fixed_is_the_number_given() -> None:
    assert float(weight("fixed", torch.ones(2, 2), 0.25)) == 0.25
