"""Samples that follow from their keys, and a search for their bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from core.samples import Pictures, SampleBatch

SHAPE = (1, 8, 8)
ROWS = 600


def name_of(key: int) -> str:
    """Names with all that a filter's text could stumble over."""
    return f"tr'ain/{key:05d}\" OR 1=1 -- é%"


def pixels_of(key: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Random pixels: no two samples share eight bytes in a row, in all likelihood."""
    return np.random.default_rng(key).integers(0, 256, shape, np.uint8)


@cache
def _key_by_pixels() -> dict[bytes, int]:
    return {pixels_of(key).tobytes(): key for key in range(ROWS)}


def keys_of(pictures: Pictures) -> np.ndarray:
    """The keys of samples of which only pixels and labels were read; the labels are theirs."""
    keys = np.array([_key_by_pixels()[image.tobytes()] for image in pictures.images], np.int64)
    np.testing.assert_array_equal(pictures.labels, keys % 3)
    return keys


def batch_of(keys: range) -> SampleBatch:
    """Samples whose every column follows from the key."""
    numbers = np.array(keys, np.int64)
    return SampleBatch(
        keys=numbers,
        sample_ids=[name_of(key) for key in keys],
        subjects=numbers // 10,
        labels=(numbers % 3).astype(np.int32),
        splits=(numbers % 4).astype(np.int8),
        images=np.stack([pixels_of(key) for key in keys]),
    )


def assert_batch(batch: SampleBatch, keys: list[int]) -> None:
    """Every column belongs to these keys, in this order."""
    numbers = np.array(keys)
    np.testing.assert_array_equal(batch.keys, numbers)
    assert batch.sample_ids == [name_of(key) for key in keys]
    np.testing.assert_array_equal(batch.subjects, numbers // 10)
    np.testing.assert_array_equal(batch.labels, numbers % 3)
    np.testing.assert_array_equal(batch.splits, numbers % 4)
    np.testing.assert_array_equal(batch.images, np.stack([pixels_of(key) for key in keys]))


def holding(root: Path, key: int) -> set[str]:
    """Names of the files that hold the sample's pixels, part of them, or its name."""
    pixels = pixels_of(key).tobytes()
    needles = [pixels, pixels[:16], pixels[-16:], name_of(key).encode()]
    files = [path for path in root.rglob("*") if path.is_file()]
    contents = {path.name: path.read_bytes() for path in files}
    return {name for name, data in contents.items() for needle in needles if needle in data}
