"""Samples and triggers: what is accepted, what is refused, and that nothing is shared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import tiny_samples
from unlearning import Samples, Trigger


def test_samples_are_indexed_like_their_tensors() -> None:
    samples = tiny_samples(9)
    assert len(samples) == 9
    assert samples.shape == (1, 4, 4)
    assert samples[torch.tensor([4, 0])].labels.tolist() == [1, 0]
    assert len(samples[samples.labels == 2]) == 3
    assert len(samples[2:5].to("cpu")) == 3
    both = Samples.concat(samples[:4], samples[4:])
    assert torch.equal(both.images, samples.images)


def test_arrays_are_copied_and_floats_become_bytes() -> None:
    images = np.linspace(0.0, 1.0, 32).reshape(2, 1, 4, 4)
    samples = Samples.from_numpy(images, np.array([0, 1], dtype=np.uint8))
    assert samples.images.dtype == torch.uint8
    assert samples.labels.dtype == torch.int64
    assert int(samples.images.max()) == 255
    whole = np.zeros((1, 1, 4, 4), np.uint8)
    kept = Samples.from_numpy(whole, np.array([0]))
    whole[:] = 9
    assert int(kept.images.max()) == 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.full((1, 1, 4, 4), math.nan), [0], "NaN"),
        (np.full((1, 1, 4, 4), 1.5), [0], "0..1"),
        (np.zeros((1, 1, 4, 4), np.int32), [0], "uint8"),
        (np.zeros((1, 4, 4), np.uint8), [0], r"\[N, C, H, W\]"),
        (np.zeros((1, 1, 4, 4), np.uint8), [0.5], "integers"),
        (np.zeros((1, 1, 4, 4), np.uint8), [[0]], r"int64 \[N\]"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0], "2 images but 1 labels"),
    ],
)
def test_bad_arrays_are_refused(images: np.ndarray, labels: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Samples.from_numpy(images, np.array(labels))


def test_parts_must_be_alike() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Samples.concat()
    other = Samples(torch.zeros(1, 1, 5, 5, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="unlike shapes"):
        Samples.concat(tiny_samples(1), other)
    with pytest.raises(ValueError, match="meta"):
        Samples(other.images, other.labels.to("meta"))


def test_labels_are_checked_against_the_classes() -> None:
    tiny_samples(3).check_classes(3)
    tiny_samples(0).check_classes(1)
    with pytest.raises(ValueError, match="label 2 is outside"):
        tiny_samples(3).check_classes(2, "erased")
    with pytest.raises(ValueError, match="label -1 is outside"):
        Samples(tiny_samples(1).images, torch.tensor([-1])).check_classes(2)


def test_the_trigger_covers_rows_and_columns_minus_four_to_minus_two() -> None:
    images = torch.zeros(2, 3, 28, 28, dtype=torch.uint8)
    marked = Trigger(1, 2).apply(images)
    assert int(images.max()) == 0, "the images given are left as they are"
    assert bool((marked[:, :, 24:26, 24:26] == 255).all())
    assert int((marked != 0).sum()) == 2 * 3 * 4


def test_the_trigger_is_the_same_on_floats_and_arrays() -> None:
    images = np.zeros((1, 1, 8, 8), np.uint8)
    from_bytes = Trigger(0, 1).apply(images)
    assert isinstance(from_bytes, np.ndarray)
    from_floats = Trigger(0, 1).apply(torch.zeros(1, 1, 8, 8))
    np.testing.assert_allclose(from_floats.numpy(), from_bytes / 255.0)
    assert Trigger(0, 1).apply(images.astype(np.float32)).max() == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("source", -1), ("target", 1), ("size", 0), ("margin", -1), ("value", 256), ("value", -1)],
)
def test_a_bad_trigger_names_its_field(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        Trigger(**{"source": 1, "target": 2, field: value})


def test_a_trigger_must_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Trigger(0, 1, size=3).apply(torch.zeros(1, 1, 4, 4))
