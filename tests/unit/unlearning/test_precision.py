"""Half-width arithmetic: chosen by capability, close to float32, nothing shipped in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import Scene, tiny_architecture, tiny_samples
from unlearning import (
    Architecture,
    Problem,
    Samples,
    TrainingConfig,
    _cuda,
    export_arrays,
    initialise,
    train,
    unlearn,
)
from unlearning._precision import Precision, forward, resolve

CONFIG = TrainingConfig(epochs=1, batch=8, lr=1e-3, beta=1e-4)


def large_architecture(kind: str) -> Architecture:
    """A ResNet takes half a minute where bfloat16 is emulated."""
    return tiny_architecture(kind=kind, input_shape=(1, 32, 32))


def large_samples(n: int) -> Samples:
    few = tiny_samples(n)
    return Samples(few.images.repeat(1, 1, 8, 8), few.labels)


def test_auto_is_bfloat16_for_convolutions_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense, small = tiny_architecture(), tiny_architecture(kind="resnet18")
    convolutional = large_architecture("resnet18")
    for native in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda n=native: n)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert resolve("auto", dense, "cpu") == "float32"
        assert resolve("auto", convolutional, "cpu") == ("bfloat16" if native else "float32")
        assert resolve("float32", convolutional, "cpu") == "float32"
        assert resolve("bfloat16", convolutional, "cpu") == "bfloat16"
        assert resolve("auto", small, "cpu") == "float32"
    monkeypatch.setattr(_cuda, "has_bfloat16", lambda device: True)
    assert resolve("auto", convolutional, "cuda:0") == "bfloat16"


def test_another_precision_is_refused(tiny: Scene) -> None:
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16"):
        train(tiny_architecture(), tiny_samples(9), CONFIG, precision="int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="precision must be one of"):
        unlearn(tiny.model, tiny.problem, precision="int8")  # type: ignore[arg-type]


def test_bfloat16_of_small_images_is_refused() -> None:
    with pytest.raises(ValueError, match="bfloat16 needs images of 32 pixels"):
        train(tiny_architecture(), tiny_samples(9), CONFIG, precision="bfloat16")


@pytest.mark.parametrize("kind", ["cnn", pytest.param("resnet18", marks=pytest.mark.long)])
def test_outputs_are_float32_and_close(kind: str) -> None:
    model = initialise(large_architecture(kind), 0).eval()
    x = model.prepare(large_samples(3).images)
    assert x.is_contiguous(memory_format=torch.channels_last)
    noise = torch.zeros(3, 4)
    full, half = (forward(model, x, noise, p) for p in ("float32", "bfloat16"))
    assert {part.dtype for part in half} == {torch.float32}
    torch.testing.assert_close(full.logits_BC, half.logits_BC, rtol=0.1, atol=0.05)
    assert not torch.equal(full.logits_BC, half.logits_BC)


@pytest.mark.parametrize("kind", ["cnn", pytest.param("resnet18", marks=pytest.mark.long)])
def test_bfloat16_ships_float32_and_repeats(kind: str) -> None:
    architecture = large_architecture(kind)
    samples = large_samples(5)
    problem = Problem(samples[:2], samples[2:], tiny_samples(0))
    trained = [train(architecture, samples, CONFIG, precision="bfloat16") for _ in range(2)]
    given: list[Precision] = ["bfloat16", "bfloat16", "float32"]
    half, again, plain = (
        export_arrays(
            unlearn(m, problem, strategy="rfu", config={"steps": 1}, precision=width).model
        )
        for m, width in zip([*trained, trained[0]], given, strict=True)
    )
    assert all(np.array_equal(a, again[name]) for name, a in half.items())
    assert {a.dtype.name for a in half.values()} == {"float32", "int64"}
    name = next(each for each in half if each.startswith("representer."))
    assert not np.array_equal(plain[name], half[name])
