"""The printed RFU-SS: its terms against torch's own divergences, and its known failure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from tests.unit.unlearning.conftest import TRIGGER, Scene, tiny_architecture, tiny_samples
from unlearning import Output, PaperConfig, accuracy, initialise, trigger_rates, unlearn
from unlearning._flat import FlatParameters
from unlearning.methods._rfu_ss_paper import (
    ClosedPaperForgetLoss,
    fixed_outputs,
    forget_loss_of,
    gaussian_kl,
    paper_forget_loss,
)


def outputs(seed: int) -> Output:
    g = torch.Generator().manual_seed(seed)
    return Output(
        torch.randn(6, 4, generator=g, dtype=torch.float64),
        torch.randn(6, 4, generator=g, dtype=torch.float64),
        torch.randn(6, 3, generator=g, dtype=torch.float64),
    )


def normal(out: Output) -> Normal:
    return Normal(out.mu_BK, (0.5 * out.log_var_BK).exp())


def test_the_divergence_of_representations_is_torchs() -> None:
    p, q = outputs(0), outputs(1)
    torch.testing.assert_close(gaussian_kl(p, q), kl_divergence(normal(p), normal(q)).mean())
    assert float(gaussian_kl(p, p)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("direction", ["algorithm1", "equations"])
def test_the_forgetting_loss_is_eqs_8_and_9(direction: str) -> None:
    config = PaperConfig.from_dict({"direction": direction, "beta_u": 0.3, "limit": 0.7})
    out, fixed, labels = outputs(0), outputs(1), torch.tensor([0, 1, 2, 0, 1, 2])
    p, q = Categorical(logits=out.logits_BC), Categorical(logits=fixed.logits_BC)
    if direction == "algorithm1":
        limits = kl_divergence(normal(fixed), normal(out)).mean() + kl_divergence(q, p).mean()
    else:
        limits = kl_divergence(normal(out), normal(fixed)).mean() + kl_divergence(p, q).mean()
    standard = Normal(torch.zeros(6, 4).double(), torch.ones(6, 4).double())
    forgets = kl_divergence(normal(out), standard).mean() + p.log_prob(labels).mean()
    found = paper_forget_loss(out, fixed, labels, config)
    torch.testing.assert_close(found, 0.3 * forgets + 0.7 * limits)


@pytest.mark.parametrize("direction", ["algorithm1", "equations"])
def test_its_gradient_is_that_of_finite_differences(direction: str) -> None:
    config = PaperConfig.from_dict({"direction": direction})
    fixed, labels = outputs(1), torch.tensor([0, 1, 2, 0, 1, 2])

    def loss(mu: Tensor, log_var: Tensor, logits: Tensor) -> Tensor:
        return paper_forget_loss(Output(mu, log_var, logits), fixed, labels, config)

    assert torch.autograd.gradcheck(loss, tuple(part.requires_grad_() for part in outputs(0)))


def test_both_gradients_of_one_forward_are_those_of_two_in_float64() -> None:
    """The flat gradients against plain autograd, each objective alone, in double precision."""
    model = initialise(tiny_architecture(), 0).double()
    samples = tiny_samples(8)
    x = model.prepare(samples.images).double()
    labels = samples.labels

    def losses(out: Output) -> tuple[Tensor, Tensor]:
        forget = Output(*(part[:3] for part in out))
        keep = Output(*(part[3:] for part in out))
        return (
            forget.logits_BC.logsumexp(1).mean() + forget.mu_BK.square().mean(),
            torch.nn.functional.cross_entropy(keep.logits_BC, labels[3:]),
        )

    expected = []
    for which in (0, 1):
        model.zero_grad()
        losses(model(x, torch.ones(8, 4).double()))[which].backward()
        expected.append(
            torch.cat(
                [
                    torch.zeros_like(p).reshape(-1)
                    if p.grad is None
                    else p.grad.reshape(-1).clone()
                    for p in model.parameters()
                ]
            )
        )
    flat = FlatParameters(model)
    loss_u, loss_r = losses(model(x, torch.ones(8, 4).double()))
    torch.testing.assert_close(flat.gradient(loss_u, keep_graph=True), expected[0])
    torch.testing.assert_close(flat.gradient(loss_r), expected[1])
    only_mu = model(x).mu_BK.sum()
    assert float(flat.gradient(only_mu)[-3:].abs().max()) == 0.0, "no dependence, no gradient"
    flat.theta_D.zero_()
    assert all(not bool(p.any()) for p in model.parameters())


@pytest.mark.parametrize("direction", ["algorithm1", "equations"])
def test_the_closed_form_is_autograds(tiny: Scene, direction: str) -> None:
    config = PaperConfig.from_dict({"direction": direction, "beta_u": 0.3, "limit": 0.7})
    loss = forget_loss_of(tiny.model, tiny.problem, config, 0)
    assert isinstance(loss, ClosedPaperForgetLoss)
    loss._fixed = Output(*(part.double() for part in loss._fixed))
    loss._gathered = loss._gathered.double()
    e = torch.tensor([4, 0, 8, 2, 2, 1])
    leaves = Output(*(part.requires_grad_() for part in outputs(3)))
    value = loss(leaves, e)
    found = loss.gradient(outputs(3), e)
    for ours, theirs in zip(found, torch.autograd.grad(value, leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_learnt_estimate_has_no_closed_form(tiny: Scene) -> None:
    config = PaperConfig(estimator="mine")
    loss = forget_loss_of(tiny.model, tiny.problem, config, 0)
    assert not isinstance(loss, ClosedPaperForgetLoss)


def test_fixed_outputs_are_those_of_the_mean_in_chunks(tiny: Scene) -> None:
    images = tiny.held_out.images
    whole, chunked = (fixed_outputs(tiny.model, images, chunk) for chunk in (100, 7))
    for one, two in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(whole.logits_BC, tiny.model.logits(images))


def test_as_printed_it_does_not_forget(scene: Scene) -> None:
    """With beta_u < 1 the limiting KL outweighs the forgetting term (see the module)."""
    outcome = unlearn(scene.model, scene.problem, strategy="rfu_ss_paper")
    assert not outcome.converged
    assert outcome.steps == 200
    assert "still given their label" in outcome.warnings[-1]
    assert trigger_rates(outcome.model, scene.held_out, TRIGGER).success > 0.7


def test_with_a_lighter_limit_it_does(scene: Scene) -> None:
    config = PaperConfig(beta_u=1.0, limit=0.4, steps=600)
    outcome = unlearn(scene.model, scene.problem, strategy="rfu_ss_paper", config=config)
    assert outcome.converged
    assert outcome.steps < 600
    assert accuracy(outcome.model, scene.erased) <= 0.05
