"""Two gradients of one forward pass: the hand-written backward against autograd in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from tests.unit.unlearning.conftest import tiny_architecture
from unlearning import VIB, Output, initialise
from unlearning._closed_forms import Remember, SoftTargets
from unlearning._flat import FlatParameters
from unlearning._gradients import Autograd, DenseGradients, Objective, two_gradients


def dense(seed: int) -> tuple[VIB, FlatParameters]:
    model = initialise(tiny_architecture(), seed).double()
    return model, FlatParameters(model)


def forget(out: Output) -> Tensor:
    """An objective that uses every output."""
    return out.logits_BC.logsumexp(1).mean() + (out.mu_BK * out.log_var_BK).sum()


def labels(n: int) -> Tensor:
    return torch.arange(n) % 3


def both(r: int, closed: bool) -> tuple[Objective, Objective]:
    eq2 = Remember(labels(r), 0.3)
    return Objective(forget), Objective(eq2, eq2.gradient if closed else None)


def rows(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 4, 4, generator=g, dtype=torch.float64)
    return x, torch.randn(n, 4, generator=g, dtype=torch.float64)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10), st.booleans())
@settings(max_examples=40)
def test_the_hand_written_backward_is_autograds(m: int, r: int, seed: int, closed: bool) -> None:
    x, noise = rows(m + r, seed)
    found = []
    for way in (DenseGradients, Autograd):
        model, flat = dense(seed)
        gradients = way(model, flat)
        values = gradients(x, noise, m, *both(r, closed))
        found.append((*values, gradients.g_2D))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    g_u, g_r = found[0][2]
    assert bool(g_u.any()) == (m > 0)
    assert bool(g_r.any()) == (r > 0)


def outputs(n: int) -> Output:
    g = torch.Generator().manual_seed(1)
    sizes = ((n, 4), (n, 4), (n, 3))
    return Output(*(torch.randn(s, generator=g, dtype=torch.float64) for s in sizes))


def test_closed_forms_are_autograds() -> None:
    e = torch.tensor([3, 0, 3, 1, 2])
    t = torch.randn(4, 3, dtype=torch.float64, generator=torch.manual_seed(0)).softmax(1)
    t[0] = torch.tensor([0.0, 0.25, 0.75])
    soft, eq2 = SoftTargets(t), Remember(labels(5), 0.3)
    for loss, closed in (
        (lambda out: soft(out, e), lambda out: soft.gradient(out, e)),
        (eq2, eq2.gradient),
    ):
        leaves = Output(*(part.requires_grad_() for part in outputs(5)))
        value = loss(leaves)
        wanted = torch.autograd.grad(value, leaves, allow_unused=True)
        for ours, theirs in zip(closed(outputs(5)), wanted, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs)


def test_soft_targets_are_a_divergence() -> None:
    out, e = outputs(5), torch.arange(5)
    t = torch.randn(5, 3, dtype=torch.float64, generator=torch.manual_seed(0)).softmax(1)
    wanted = kl_divergence(Categorical(t), Categorical(logits=out.logits_BC)).mean()
    torch.testing.assert_close(SoftTargets(t)(out, e), wanted)
    same = SoftTargets(out.logits_BC.softmax(1))
    assert float(same(out, e)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("way", [DenseGradients, Autograd])
def test_the_gradients_do_not_depend_on_whether_losses_are_reported(way: type) -> None:
    x, noise = rows(5)
    found = []
    for report in (True, False):
        model, flat = dense(0)
        gradients = way(model, flat)
        gradients(x, noise, 2, *both(3, True), report=report)
        found.append(gradients.g_2D)
    assert torch.equal(*found)


def test_a_call_overwrites_what_the_last_one_found() -> None:
    model, flat = dense(0)
    gradients = DenseGradients(model, flat)
    x, noise = rows(5)
    gradients(x, noise, 2, *both(3, True))
    first = gradients.g_2D.clone()
    gradients(x + 1.0, noise, 2, *both(3, True))
    gradients(x, noise, 2, *both(3, True))
    assert torch.equal(gradients.g_2D, first)


def test_an_objective_may_leave_the_logits_out() -> None:
    model, flat = dense(0)
    x, noise = rows(4)
    found = []
    for way in (DenseGradients, Autograd):
        gradients = way(model, flat)
        only = Objective(lambda out: out.mu_BK.square().sum())
        gradients(x, noise, 2, only, only)
        found.append(gradients.g_2D)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("kind", "way"), [("mlp", DenseGradients), ("resnet18", Autograd)])
def test_rows_that_meet_in_batch_normalisation_take_two_passes(kind: str, way: type) -> None:
    model = initialise(tiny_architecture(kind=kind), 0)
    assert isinstance(two_gradients(model, FlatParameters(model)), way)
