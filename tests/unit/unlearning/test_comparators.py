"""The comparators: their pieces against closed forms, and what each does to a trigger."""

# ruff: noqa: N806 - symbols carry their shapes

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tests.unit.unlearning.conftest import TRIGGER, Scene, tiny_architecture, tiny_samples
from unlearning import (
    HBUConfig,
    Output,
    TrainingConfig,
    VBUConfig,
    accuracy,
    export_arrays,
    initialise,
    lean,
    train,
    trigger_rates,
    unlearn,
    vib_loss,
)
from unlearning._flat import FlatParameters
from unlearning.methods._hbu import Newton, conjugate_gradient, hessian_vector_products
from unlearning.methods._mine import Mine
from unlearning.methods._vbu import MeanField, laplace


@pytest.mark.parametrize("strategy", ["rfu", "hbu", "vbu"])
def test_a_comparator_forgets_the_trigger(scene: Scene, strategy: str) -> None:
    assert trigger_rates(scene.model, scene.held_out, TRIGGER).success > 0.9
    outcome = unlearn(scene.model, scene.problem, strategy=strategy)
    assert outcome.converged
    assert outcome.warnings == []
    assert accuracy(outcome.model, scene.erased) <= 0.05
    assert trigger_rates(outcome.model, scene.held_out, TRIGGER).success < 0.15


def test_remembering_beside_it_keeps_more_of_the_rest(scene: Scene) -> None:
    alone, both = (
        unlearn(scene.model, scene.problem, strategy="vbu", config={"weighting": weighting})
        for weighting in (None, "eq14")
    )
    assert accuracy(both.model, scene.held_out) > accuracy(alone.model, scene.held_out)


def test_fine_tuning_keeps_the_trigger_and_says_so(scene: Scene) -> None:
    outcome = unlearn(scene.model, scene.problem, strategy="fine_tune", config={"steps": 100})
    assert trigger_rates(outcome.model, scene.held_out, TRIGGER).success > 0.5
    assert not outcome.converged
    assert "still given their label" in outcome.warnings[0]
    assert {report.alpha for report in outcome.history} == {0.0}


def test_retraining_is_training_on_what_remains(tiny: Scene) -> None:
    config = TrainingConfig(epochs=2, batch=16, lr=1e-3, beta=1e-3)
    outcome = unlearn(tiny.model, tiny.problem, strategy="retrain", config=config, seed=4)
    plain = export_arrays(train(tiny.model.architecture, tiny.remaining, config, seed=4))
    found = export_arrays(outcome.model)
    assert all((plain[name] == found[name]).all() for name in plain)
    assert outcome.converged
    assert outcome.steps == 12


def test_a_lean_schedule_takes_a_fifth_of_the_epochs() -> None:
    config = TrainingConfig(epochs=20, batch=100, lr=1e-3, beta=1e-4, augment="shift")
    assert lean(config) == TrainingConfig(4, 256, 3e-3, 1e-4, "shift", min_steps=200)
    assert lean(TrainingConfig(epochs=1, batch=8, lr=1.0, beta=0.0)).epochs == 1


def test_hessian_vector_products_are_the_hessian_in_float64() -> None:
    model = initialise(tiny_architecture(hidden=3, latent=2, approximator_hidden=3), 0)
    model = model.double().eval()
    flat, samples = FlatParameters(model), tiny_samples(12)
    config = HBUConfig(damping=0.3)
    x = model.prepare(samples.images).double()
    model.prepare = lambda images: x  # type: ignore[method-assign]
    times = hessian_vector_products(model, flat, samples, config)
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(theta_D: Tensor) -> Tensor:  # noqa: N803
        parts = theta_D.split([math.prod(shape) for shape in shapes])  # type: ignore[no-untyped-call]
        weights = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        out = torch.func.functional_call(model, weights, (x,))
        return vib_loss(out, samples.labels, config.beta)

    hessian = torch.autograd.functional.hessian(loss, flat.theta_D.clone())
    v = torch.randn(len(flat.theta_D), dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(times(v), hessian @ v + 0.3 * v)


def test_conjugate_gradient_solves_and_ends_at_negative_curvature() -> None:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=g, dtype=torch.float64)
    a, b = root @ root.T + torch.eye(6), torch.randn(6, generator=g, dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda v: a @ v, b, 6), torch.linalg.solve(a, b))
    torch.testing.assert_close(conjugate_gradient(lambda v: -v, b, 6), b)
    mixed = torch.diag(torch.tensor([1.0, 2.0, -0.1, 3.0, 1.0, 1.0], dtype=torch.float64))
    found = conjugate_gradient(lambda v: mixed @ v, b, 6)
    assert bool(torch.isfinite(found).all())
    assert float(found.dot(b)) > 0.0, "what it found until then still descends"


def test_a_newton_step_is_no_longer_than_its_radius(tiny: Scene) -> None:
    model = initialise(tiny_architecture(), 0).eval()
    flat = FlatParameters(model)
    before = flat.theta_D.clone()
    config = HBUConfig(radius=0.05)
    step = Newton(model, flat, tiny.remaining, config, 0)
    step.step(torch.ones_like(before), 1.0)
    assert float((flat.theta_D - before).norm()) == pytest.approx(0.05, rel=1e-3)


def mean_field(threshold: float) -> tuple[FlatParameters, MeanField, Tensor]:
    flat = FlatParameters(initialise(tiny_architecture(), 0))
    s0 = torch.linspace(0.01, 0.02, len(flat.theta_D))
    return flat, MeanField(flat, s0, 7, threshold), s0


def test_the_bound_is_the_likelihood_and_the_divergence_from_the_posterior() -> None:
    flat, vary, s0 = mean_field(0.0)
    mean0 = flat.theta_D.clone()
    vary.theta_V.add_(torch.randn(len(vary.theta_V), generator=torch.manual_seed(1)) * 0.01)
    vary.place(torch.Generator().manual_seed(3))
    noise = torch.randn(len(mean0), generator=torch.Generator().manual_seed(3))
    a = torch.randn(len(mean0), generator=torch.manual_seed(2))  # a linear loss: L = a . theta

    variables = vary.theta_V.clone().requires_grad_()
    mean, log_s = variables.chunk(2)
    bound = a.dot(mean + log_s.exp() * noise) + (
        kl_divergence(Normal(mean, log_s.exp()), Normal(mean0, s0)).sum() / 7
    )
    (expected,) = torch.autograd.grad(bound, variables)
    g_2V, loss = vary.gradients(torch.stack([a, 2 * a]), a.dot(flat.theta_D))
    torch.testing.assert_close(g_2V[0], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(loss, bound.detach(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(g_2V[1, : len(a)], 2 * a)
    shipped = torch.zeros_like(mean0)
    vary.ship(vary.theta_V, shipped)
    assert torch.equal(shipped, vary.theta_V[: len(mean0)])


def test_an_unlikely_draw_has_no_say_under_the_adjusted_likelihood() -> None:
    for threshold, says in ((0.0, True), (0.5, True), (0.7, False)):
        flat, vary, _ = mean_field(threshold)
        vary.place(torch.Generator().manual_seed(0))
        g_2V, loss = vary.gradients(torch.ones(2, len(flat.theta_D)), torch.tensor(3.0))
        assert bool(g_2V[0, : len(flat.theta_D)].any()) == says
        assert (float(loss) > 1.0) == says
    assert math.exp(-0.5) == pytest.approx(0.607, abs=1e-3)  # what a typical draw has


def test_a_weight_that_matters_has_a_narrow_posterior(tiny: Scene) -> None:
    config = VBUConfig(prior_precision=1.0)
    s = laplace(initialise(tiny_architecture(), 0).eval(), tiny.problem, config, 0)
    assert float(s.max()) <= 1.0 + 1e-6
    assert float(s.min()) < 0.5 * float(s.max())


def test_mine_finds_the_information_of_correlated_gaussians() -> None:
    """I(X; Z) = -log(1 - rho^2) / 2 for each pair of unit Gaussians with correlation rho."""
    g = torch.Generator().manual_seed(0)
    rho, found = 0.9, []
    for correlated in (True, False):
        mine = Mine(1, 1, 0, torch.device("cpu"))
        for _ in range(600):
            x, other = torch.randn(2, 256, 1, generator=g)
            z = rho * x + math.sqrt(1 - rho**2) * other if correlated else other
            out = Output(z, torch.full_like(z, -30.0), z)
            estimate = mine(x, out, torch.zeros_like(z))
        found.append(float(estimate.detach()))
    assert found[0] == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.25)
    assert abs(found[1]) < 0.1


def test_mine_of_one_sample_is_nothing() -> None:
    mine = Mine(4, 2, 0, torch.device("cpu"))
    mu = torch.ones(1, 2, requires_grad=True)
    estimate = mine(torch.ones(1, 4), Output(mu, mu, mu), torch.ones(1, 2))
    assert float(estimate.detach()) == 0.0


def test_mine_takes_part_in_the_papers_methods(scene: Scene) -> None:
    one, two = (
        unlearn(
            scene.model,
            scene.problem,
            strategy="rfu",
            config={"steps": 10, "estimator": estimator, "stop_accuracy": 0.0},
        )
        for estimator in ("variational", "mine")
    )
    assert one.history[0].forget_loss != two.history[0].forget_loss
