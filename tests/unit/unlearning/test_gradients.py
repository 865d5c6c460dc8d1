"""Two gradients of one forward pass: the hand-written backward against autograd in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.unit.unlearning.conftest import tiny_architecture
from unlearning import VIB, Output, initialise, vib_loss
from unlearning._flat import FlatParameters
from unlearning._gradients import Autograd, DenseGradients, two_gradients


def dense(seed: int) -> tuple[VIB, FlatParameters]:
    model = initialise(tiny_architecture(), seed).double()
    return model, FlatParameters(model)


def losses(out_u: Output, out_r: Output) -> tuple[Tensor, Tensor]:
    """Objectives that use every output."""
    zero = out_u.logits_BC.new_zeros(())
    loss_u = loss_r = zero
    if len(out_u.mu_BK):
        loss_u = out_u.logits_BC.logsumexp(1).mean() + (out_u.mu_BK * out_u.log_var_BK).sum()
    if len(out_r.mu_BK):
        labels = torch.arange(len(out_r.mu_BK)) % 3
        loss_r = vib_loss(out_r, labels, 0.3)
    return loss_u, loss_r


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10))
@settings(max_examples=30)
def test_the_hand_written_backward_is_autograds(m: int, r: int, seed: int) -> None:
    if m + r == 0:
        return
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(m + r, 1, 4, 4, generator=g, dtype=torch.float64)
    noise = torch.randn(m + r, 4, generator=g, dtype=torch.float64)
    found = []
    for way in (DenseGradients, Autograd):
        model, flat = dense(seed)
        gradients = way(model, flat)
        values = gradients(x, noise, m, losses)
        found.append((*values, gradients.g_2D))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    g_u, g_r = found[0][2]
    assert bool(g_u.any()) == (m > 0)
    assert bool(g_r.any()) == (r > 0)


def test_a_call_overwrites_what_the_last_one_found() -> None:
    model, flat = dense(0)
    gradients = DenseGradients(model, flat)
    x, noise = torch.randn(5, 1, 4, 4).double(), torch.randn(5, 4).double()
    gradients(x, noise, 2, losses)
    first = gradients.g_2D.clone()
    gradients(x + 1.0, noise, 2, losses)
    gradients(x, noise, 2, losses)
    assert torch.equal(gradients.g_2D, first)


def test_losses_of_the_logits_alone_leave_the_kl_out() -> None:
    model, flat = dense(0)
    x, noise = torch.randn(4, 1, 4, 4).double(), torch.zeros(4, 4).double()
    gradients = DenseGradients(model, flat)

    def only_logits(out_u: Output, out_r: Output) -> tuple[Tensor, Tensor]:
        return functional.cross_entropy(out_u.logits_BC, torch.zeros(2).long()), losses(
            out_u, out_r
        )[1]

    gradients(x, noise, 2, only_logits)
    reference = Autograd(model, flat)
    reference(x, noise, 2, only_logits)
    torch.testing.assert_close(gradients.g_2D, reference.g_2D)


@pytest.mark.parametrize(("kind", "way"), [("mlp", DenseGradients), ("resnet18", Autograd)])
def test_rows_that_meet_in_batch_normalisation_take_two_passes(kind: str, way: type) -> None:
    model = initialise(tiny_architecture(kind=kind), 0)
    assert isinstance(two_gradients(model, FlatParameters(model)), way)
