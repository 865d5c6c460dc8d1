"""Serving on a GPU: recorded passes give what the CPU gives, for every size of a batch."""

from __future__ import annotations

import numpy as np
import pytest

from service.inference.forward import SHAPES, Network, prepared
from unlearning import PRESETS
from unlearning.vib import initialise


@pytest.mark.parametrize("preset", ["cifar-resnet18", "mnist-mlp"])
def test_a_recorded_pass_is_what_the_cpu_gives(preset: str) -> None:
    shape = (3, 32, 32) if preset == "cifar-resnet18" else (1, 28, 28)
    architecture = PRESETS[preset].architecture(shape, 10)
    there = prepared(initialise(architecture, seed=0).eval(), "cuda")
    here = Network(initialise(architecture, seed=0).eval())
    assert isinstance(there, Network)
    rng = np.random.default_rng(0)
    for rows in (1, 3, SHAPES[-1], SHAPES[-1] + 5):
        images = rng.random((rows, *shape), np.float32)
        for samples in (0, 4):
            one, two = there(images, samples), here(images, samples)
            np.testing.assert_allclose(one.probabilities, two.probabilities, atol=2e-3)
            np.testing.assert_allclose(one.uncertainty, two.uncertainty, atol=5e-3)
    again = there(images, 0)
    np.testing.assert_array_equal(again.probabilities, there(images, 0).probabilities)
