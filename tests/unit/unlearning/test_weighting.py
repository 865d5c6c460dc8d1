"""Weights of the two objectives: closed forms against brute force, and their limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.aggregation import MGDA

from unlearning.weighting import WEIGHTINGS, eq14, equal_norm, gram, norm_of, weight

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
def test_eq14_is_the_mgda_of_torchjd(g_u: torch.Tensor, g_r: torch.Tensor) -> None:
    both = torch.stack([g_u, g_r])
    alpha = eq14(gram(both))
    ours = alpha * g_u + (1 - alpha) * g_r
    theirs = MGDA(epsilon=1e-9, max_iters=1000)(both)
    # It is found there by iteration, and where both agree every mixture is as short.
    torch.testing.assert_close(ours.norm(), theirs.norm(), rtol=1e-3, atol=1e-3)
    if float((g_u - g_r).norm()) > 0.1:
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=2e-2)


@given(vectors, vectors, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_products_tell_the_norm_of_a_mixture(
    g_u: torch.Tensor, g_r: torch.Tensor, alpha: float
) -> None:
    found = norm_of(gram(torch.stack([g_u, g_r])), torch.tensor(alpha).double())
    wanted = (alpha * g_u + (1 - alpha) * g_r).norm()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


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
