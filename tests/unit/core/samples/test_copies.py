"""Copies of a sample are found by their pixels, whatever else is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core import _sample_batch
from core.samples import SampleStore
from tests.unit.core.samples.making import ROWS, batch_of, pixels_of


def with_pixels_of(keys: range, originals: list[int]) -> _sample_batch.SampleBatch:
    """Samples of these keys that look like those of `originals`."""
    images = np.stack([pixels_of(key) for key in originals])
    return replace(batch_of(keys), images=images)


def test_copies_have_the_same_pixels_and_another_key(store: SampleStore) -> None:
    assert store.copies("digits", [3, 4]).tolist() == []
    store.append("digits", [with_pixels_of(range(1000, 1004), [3, 5, 3, 250])])
    assert store.copies("digits", [3, 4]).tolist() == [1000, 1002]
    assert store.copies("digits", [3, 1000, 250]).tolist() == [1002, 1003]
    assert store.copies("digits", [1002]).tolist() == [3, 1000]


def test_what_is_not_there_has_no_copies(store: SampleStore) -> None:
    store.append("digits", [with_pixels_of(range(1000, 1001), [3])])
    store.delete("digits", [3])
    assert store.copies("digits", [3, ROWS + 5000]).tolist() == []
    assert store.copies("digits", []).tolist() == []


def test_an_equal_fingerprint_alone_is_no_copy(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_equal(images: np.ndarray) -> np.ndarray:
        return np.zeros(len(images), np.int64)

    monkeypatch.setattr(_sample_batch, "fingerprints", all_equal)
    store.append("digits", [with_pixels_of(range(1000, 1003), [1, 2, 1])])
    assert store.copies("digits", [1000]).tolist() == [1002]
