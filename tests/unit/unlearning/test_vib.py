"""The model: shapes, predictions that do not depend on the batch, weights that round-trip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import Scene, tiny_architecture, tiny_samples
from unlearning import (
    PRESETS,
    copy_model,
    export_arrays,
    initialise,
    load_arrays,
    preset_for,
    vib_loss,
)
from unlearning.vib import kl_to_standard_normal


def test_outputs_have_the_described_shapes() -> None:
    model = initialise(PRESETS["mnist-mlp"].architecture((1, 28, 28), 10), 0)
    out = model(model.prepare(torch.zeros(5, 1, 28, 28, dtype=torch.uint8)))
    assert out.mu_BK.shape == out.log_var_BK.shape == (5, 49)
    assert out.logits_BC.shape == (5, 10)
    assert sum(p.numel() for p in model.parameters()) == 784 * 96 + 96 + 96 * 98 + 98 + (
        49 * 96 + 96 + 96 * 10 + 10
    )


def test_a_resnet_represents_small_colour_images() -> None:
    architecture = PRESETS["cifar-resnet18"].architecture((3, 32, 32), 10)
    model = initialise(architecture, 0).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert model.predict(images).probabilities_BC.shape == (2, 10)
    again = load_arrays(architecture, export_arrays(model))
    assert torch.equal(again.logits(images), model.logits(images))


def test_bytes_and_floats_are_the_same_image(tiny: Scene) -> None:
    images = tiny.remaining.images
    torch.testing.assert_close(tiny.model.prepare(images), tiny.model.prepare(images / 255.0))


def test_normalisation_is_that_of_the_architecture() -> None:
    model = initialise(tiny_architecture(mean=(0.5,), std=(0.25,)), 0)
    x = model.prepare(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8))
    torch.testing.assert_close(x, torch.full((1, 1, 4, 4), 2.0))


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 1, 4, 5), (2, 3, 4, 4)])
def test_images_of_another_shape_are_refused(tiny: Scene, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must be \[N, 1, 4, 4\]"):
        tiny.model.predict(torch.zeros(shape, dtype=torch.uint8))


def test_images_of_another_type_are_refused(tiny: Scene) -> None:
    with pytest.raises(ValueError, match="int64"):
        tiny.model.predict(torch.zeros(1, 1, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("pixel", [math.nan, math.inf])
def test_pixels_that_are_no_numbers_are_refused(tiny: Scene, pixel: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        tiny.model.predict(torch.full((1, 1, 4, 4), pixel))


def test_an_empty_batch_and_negative_samples_are_refused(tiny: Scene) -> None:
    with pytest.raises(ValueError, match="no images"):
        tiny.model.predict(torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match="samples"):
        tiny.model.predict(torch.zeros(1, 1, 4, 4), samples=-1)


@pytest.mark.parametrize("samples", [0, 16])
def test_a_prediction_does_not_depend_on_its_batch(tiny: Scene, samples: int) -> None:
    images = tiny.held_out.images
    together = tiny.model.predict(images, samples)
    alone = tiny.model.predict(images[7:8], samples)
    torch.testing.assert_close(together.probabilities_BC[7:8], alone.probabilities_BC)
    torch.testing.assert_close(together.uncertainty_B[7:8], alone.uncertainty_B)
    torch.testing.assert_close(together.probabilities_BC.sum(1), torch.ones(len(images)))
    assert torch.equal(together.label_B, together.probabilities_BC.argmax(1))


def test_uncertainty_is_an_entropy_in_nats(tiny: Scene) -> None:
    found = tiny.model.predict(tiny.held_out.images, samples=8).uncertainty_B
    assert bool((found >= 0).all())
    assert bool((found <= math.log(3) + 1e-6).all())
    p = tiny.model.predict(tiny.held_out.images)
    by_hand = -(p.probabilities_BC * p.probabilities_BC.log()).sum(1)
    torch.testing.assert_close(p.uncertainty_B, by_hand)


def test_evaluation_uses_the_mean_and_training_a_sample(tiny: Scene) -> None:
    model = copy_model(tiny.model)
    x = model.prepare(tiny.held_out.images)
    assert torch.equal(model(x).logits_BC, model(x).logits_BC)
    model.train()
    assert not torch.equal(model(x).logits_BC, model(x).logits_BC)
    model.predict(tiny.held_out.images)
    assert model.training, "predicting leaves the mode as it was"


def test_the_bottleneck_is_the_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    mu, log_var = torch.randn(6, 4, generator=g), torch.randn(6, 4, generator=g)
    normal = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    standard = torch.distributions.Normal(torch.zeros(6, 4), torch.ones(6, 4))
    expected = torch.distributions.kl_divergence(normal, standard).mean()
    torch.testing.assert_close(kl_to_standard_normal(mu, log_var), expected)


def test_the_loss_has_the_gradient_of_finite_differences() -> None:
    model = initialise(tiny_architecture(), 0).double()
    samples = tiny_samples(5)
    x = model.prepare(samples.images).double()
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameters = list(model.parameters())

    def loss(*values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in model.named_parameters()]
        out = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x, noise))
        return vib_loss(out, samples.labels, beta=0.3)

    assert torch.autograd.gradcheck(loss, tuple(p.detach().requires_grad_() for p in parameters))


def test_fresh_weights_depend_on_the_seed_only() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two, other = (export_arrays(initialise(tiny_architecture(), s)) for s in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is untouched"
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)


def test_weights_round_trip_and_a_copy_shares_nothing(tiny: Scene) -> None:
    arrays = export_arrays(tiny.model)
    again = load_arrays(tiny.model.architecture, arrays)
    assert torch.equal(again.logits(tiny.held_out.images), tiny.model.logits(tiny.held_out.images))
    assert not again.training
    for array in arrays.values():
        array[...] = 0.0
    copied = copy_model(tiny.model)
    for p in copied.parameters():
        p.data.zero_()
    assert torch.equal(again.logits(tiny.held_out.images), tiny.model.logits(tiny.held_out.images))


def _damage(arrays: dict[str, np.ndarray], how: str) -> None:
    name = "approximator.0.bias"
    if how == "missing":
        del arrays[name]
    elif how == "unknown":
        arrays["extra"] = np.zeros(1, np.float32)
    elif how == "shape":
        arrays[name] = arrays[name][:-1]
    elif how == "type":
        arrays[name] = arrays[name].astype(np.int64)
    else:
        arrays[name][0] = np.nan


@pytest.mark.parametrize("how", ["missing", "unknown", "shape", "type", "NaN"])
def test_damaged_weights_are_refused_by_name(tiny: Scene, how: str) -> None:
    arrays = export_arrays(tiny.model)
    _damage(arrays, how)
    with pytest.raises(ValueError, match=how):
        load_arrays(tiny.model.architecture, arrays)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((3, 32, 32), "cifar-resnet18"), ((1, 8, 8), "digits-mlp"), ((1, 28, 28), "mnist-mlp")],
)
def test_the_preset_follows_from_the_shape(shape: tuple[int, int, int], name: str) -> None:
    assert preset_for(shape).name == name
