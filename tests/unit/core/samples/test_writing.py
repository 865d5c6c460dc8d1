"""Appends are whole or nothing, and refuse what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pytest

from core import _sample_batch
from core.samples import (
    SampleBatch,
    SamplesInvalid,
    SampleStore,
    SampleStoreUnreadable,
)
from tests.unit.core.samples.making import ROWS, SHAPE, assert_batch, batch_of, holding


def test_fragments_stay_small(store: SampleStore, root: Path) -> None:
    store.create("large", (1, 1, 1))
    rows = 70_000
    zeros = np.zeros(rows, np.int64)
    told: list[int] = []
    batch = SampleBatch(
        keys=np.arange(rows),
        sample_ids=[str(key) for key in range(rows)],
        subjects=zeros,
        labels=zeros.astype(np.int32),
        splits=zeros.astype(np.int8),
        images=np.zeros((rows, 1, 1, 1), np.uint8),
    )
    assert store.append("large", [batch], progress=told.append) == rows
    assert told == [65_536, rows]
    store.delete("large", [0, 65_535, 65_536])
    store.purge("large")
    fragments = lance.dataset(str(root / "large.lance")).get_fragments()
    assert [fragment.count_rows() for fragment in fragments] == [65_534, 4463]


@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 8, 8), 65_536), ((3, 32, 32), 21_845), ((3, 9000, 9000), 1)]
)
def test_fragments_of_large_images_hold_fewer(shape: tuple[int, int, int], rows: int) -> None:
    assert _sample_batch.fragment_rows(_sample_batch.schema_of(shape)) == rows


def test_batches_of_any_size_make_full_fragments(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sample_batch, "FRAGMENT_ROWS", 20)
    store.create("odd", SHAPE)
    sizes = [range(7), range(7, 70), range(70, 73), range(73, 74)]
    assert store.append("odd", map(batch_of, sizes)) == 74
    fragments = lance.dataset(str(root / "odd.lance")).get_fragments()
    assert [fragment.count_rows() for fragment in fragments] == [20, 20, 20, 14]
    assert_batch(store.take("odd", list(range(74))), list(range(74)))


def test_an_empty_append_adds_nothing(store: SampleStore) -> None:
    assert store.append("digits", []) == 0
    assert store.append("digits", [batch_of(range(700, 701))], progress=None) == 1
    empty = _sample_batch.empty(SHAPE, 0)
    assert store.append("digits", [empty]) == 0
    assert store.count("digits") == ROWS + 1


def changed(**columns: object) -> SampleBatch:
    return SampleBatch(**{**vars(batch_of(range(1000, 1003))), **columns})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed(images=np.zeros((3, 8, 8), np.uint8)), "uint8"),
        (changed(images=np.zeros((3, *SHAPE), np.float32)), "float32"),
        (changed(sample_ids=["one"]), "Every column needs 3 rows"),
        (changed(splits=np.array([0, 1, 4], np.int8)), "A split"),
        (changed(splits=np.array([-1, 1, 2], np.int8)), "A split"),
        (changed(keys=np.array([1000, 1002, 1001])), "ascend"),
        (changed(keys=np.array([1000, 1000, 1001])), "ascend"),
        (changed(keys=np.array([-1, 0, 1])), "ascend"),
        (batch_of(range(900, 903)), "ascend"),
    ],
)
def test_bad_samples_are_refused_whole(
    store: SampleStore, root: Path, bad: SampleBatch, message: str
) -> None:
    with pytest.raises(SamplesInvalid, match=message):
        store.append("digits", iter([batch_of(range(900, 950)), bad]))
    assert store.count("digits") == ROWS
    assert holding(root, 900) == set()


@pytest.mark.parametrize("keys", [range(599, 602), range(1), range(300, 310)])
def test_a_key_is_used_once(store: SampleStore, keys: range) -> None:
    with pytest.raises(SamplesInvalid, match="new samples new keys"):
        store.append("digits", [batch_of(keys)])
    assert store.count("digits") == ROWS


def test_an_error_in_the_source_reaches_the_caller(store: SampleStore, root: Path) -> None:
    def source() -> Iterator[SampleBatch]:
        yield batch_of(range(900, 950))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append("digits", source())
    assert store.count("digits") == ROWS
    assert holding(root, 900) == set()


def test_a_failing_disk_is_named(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(lance.fragment, "write_fragments", fail)
    with pytest.raises(SampleStoreUnreadable, match="No space left"):
        store.append("digits", [batch_of(range(900, 950))])


def test_ctrl_c_outside_the_source(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_commit_append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.append("digits", [batch_of(range(900, 950))])
    assert store.count("digits") == ROWS


def test_a_commit_that_failed_after_it_worked_is_not_repeated(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = lance.LanceDataset.commit

    def unsure(*args: object, **kwargs: object) -> None:
        commit(*args, **kwargs)
        raise OSError("connection reset")

    monkeypatch.setattr(lance.LanceDataset, "commit", unsure)
    assert store.append("digits", [batch_of(range(900, 950))]) == 50
    assert store.count("digits") == ROWS + 50
