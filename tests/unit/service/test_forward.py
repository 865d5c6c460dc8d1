"""Serving's forward passes give what the model gives: in NumPy, and in PyTorch on padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core.errors import SettingsError
from service.inference.forward import SHAPES, Dense, Network, prepared
from service.inference.versions import check_device, device_for
from unlearning import Architecture
from unlearning.vib import VIB, initialise

MLP = Architecture(
    kind="mlp",
    input_shape=(2, 5, 4),
    classes=7,
    hidden=24,
    latent=9,
    approximator_hidden=16,
    mean=(0.3, 0.6),
    std=(0.25, 0.4),
)
RESNET = Architecture(
    kind="resnet18",
    input_shape=(3, 8, 8),
    classes=4,
    hidden=1,
    latent=6,
    approximator_hidden=8,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def scaled(architecture: Architecture, scale: float = 3.0) -> VIB:
    """A model that is surer than a fresh one."""
    vib = initialise(architecture, seed=1).eval()
    with torch.no_grad():
        for layer in vib.approximator:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(scale)
    return vib


def batch(architecture: Architecture, rows: int) -> Any:
    shape = (rows, *architecture.input_shape)
    return np.random.default_rng(rows).random(shape, np.float32)


@pytest.mark.parametrize("kind", [Dense, Network])
@pytest.mark.parametrize("rows", [1, 3, SHAPES[-1] + 3])
@pytest.mark.parametrize("samples", [0, 16])
def test_it_is_what_the_model_predicts(kind: Any, rows: int, samples: int) -> None:
    vib = scaled(MLP)
    images = batch(MLP, rows)
    wanted = vib.predict(torch.from_numpy(images), samples)
    found = kind(vib)(images, samples)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities_BC.numpy(), atol=2e-6)
    # 64 numbers at once are drawn in another order than 16: the same law, not the same bits.
    tolerance = 1e-5 if not samples else 0.25
    np.testing.assert_allclose(found.uncertainty, wanted.uncertainty_B.numpy(), atol=tolerance)
    assert (found.information is None) == (samples == 0)


def test_numpy_and_pytorch_agree_on_what_is_drawn() -> None:
    vib, images = scaled(MLP), batch(MLP, 6)
    for samples in (1, 16, 64):
        one, two = Dense(vib)(images, samples), Network(vib)(images, samples)
        np.testing.assert_allclose(one.uncertainty, two.uncertainty, atol=1e-5)
        assert one.information is not None
        np.testing.assert_allclose(one.information, two.information, atol=1e-5)


def test_information_is_the_part_of_the_entropy_that_is_from_z() -> None:
    vib, images = scaled(MLP), batch(MLP, 5)
    outputs = Dense(vib)(images, 64)
    assert outputs.information is not None
    assert (outputs.information > 0).all()
    assert (outputs.information < outputs.uncertainty).all()
    assert (outputs.uncertainty < np.log(MLP.classes)).all()
    with torch.no_grad():  # z without spread: nothing is left to know
        vib.representer[3].bias[MLP.latent :] = -60.0  # type: ignore[index]
    certain = Dense(vib)(images, 64)
    np.testing.assert_allclose(certain.information, 0.0, atol=1e-3)


@pytest.mark.parametrize("samples", [0, 3])
def test_an_answer_depends_on_no_other_image(samples: int) -> None:
    forward = prepared(scaled(RESNET), "cpu")
    images = batch(RESNET, 5)
    together = forward(images, samples)
    for at in range(5):
        alone = forward(images[at : at + 1], samples)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[at], atol=1e-5)
        np.testing.assert_allclose(alone.uncertainty[0], together.uncertainty[at], atol=1e-5)


def test_what_is_prepared_is_warm_and_timed() -> None:
    assert isinstance(prepared(initialise(MLP, 0).eval(), "cpu"), Dense)
    forward = prepared(initialise(RESNET, 0).eval(), "cpu")
    assert isinstance(forward, Network)
    assert 0 < forward.seconds < 60


def test_confident_images_have_no_entropy_and_no_warning() -> None:
    vib = scaled(MLP, scale=200.0)
    outputs = Dense(vib)(batch(MLP, 8), 2)
    assert np.isfinite(outputs.uncertainty).all()
    assert (Dense(vib)(batch(MLP, 8), 0).uncertainty >= 0).all()


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_for("cpu", RESNET) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for("auto", MLP) == "cpu", "the way to a GPU takes longer"
    assert device_for("auto", RESNET) == "cuda"
    check_device("auto")
    check_device("cpu")
    for wrong in ("cuda:77", "tpu"):
        with pytest.raises(SettingsError, match="use auto or cpu"):
            check_device(wrong)
