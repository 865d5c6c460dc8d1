"""What is asked for is what is read."""

from __future__ import annotations

import numpy as np
import pytest

from core import _sample_reads
from core.samples import (
    SPLIT_CODE,
    SPLITS,
    SamplesMissing,
    SampleStore,
    TooFewSamples,
)
from tests.unit.core.samples.making import (
    ROWS,
    SHAPE,
    assert_batch,
    batch_of,
    keys_of,
    name_of,
)


def test_counts(store: SampleStore) -> None:
    assert store.shape("digits") == SHAPE
    assert store.count("digits") == ROWS
    assert [store.count("digits", split) for split in SPLITS] == [ROWS // 4] * 4
    assert store.class_counts("digits") == dict.fromkeys(range(3), ROWS // 3)
    assert store.class_counts("digits", "test") == dict.fromkeys(range(3), ROWS // 12)
    np.testing.assert_array_equal(store.keys("digits", "heldout"), np.arange(2, ROWS, 4))


def test_take_gives_what_was_asked_in_that_order(store: SampleStore) -> None:
    store.delete("digits", [0, 99, 100, 305])
    asked = [599, 1, 300, 1, 101, 306]
    assert_batch(store.take("digits", asked), asked)
    assert len(store.take("digits", [])) == 0
    assert store.take("digits", []).images.shape == (0, *SHAPE)


def test_take_follows_keys_even_where_later_fragments_hold_smaller_ones(
    store: SampleStore,
) -> None:
    store.create("late", SHAPE)
    for keys in (range(500, 510), range(10), range(100, 110)):
        store.append("late", [batch_of(keys)])
    assert_batch(store.take("late", [505, 3, 109, 0]), [505, 3, 109, 0])


def test_missing_samples_are_listed(store: SampleStore) -> None:
    store.delete("digits", [7])
    with pytest.raises(SamplesMissing, match="2 samples") as error:
        store.take("digits", [8, 7, 10**12])
    assert error.value.keys == [7, 10**12]


def test_find_subject(store: SampleStore) -> None:
    found = store.find_subject("digits", [3, 59, 1000])
    np.testing.assert_array_equal(found.keys, [*range(30, 40), *range(590, 600)])
    np.testing.assert_array_equal(found.subjects, found.keys // 10)
    np.testing.assert_array_equal(found.labels, found.keys % 3)
    np.testing.assert_array_equal(found.splits, found.keys % 4)
    assert len(store.find_subject("digits", [])) == 0


def test_sample_ids_are_compared_not_interpreted(store: SampleStore) -> None:
    wanted = [name_of(5), name_of(555), "' OR '1'='1", "", name_of(5)[:-1]]
    assert store.find_sample_ids("digits", wanted) == {name_of(5): 5, name_of(555): 555}
    assert store.find_sample_ids("digits", []) == {}


@pytest.mark.parametrize("gain", [1, 10**9], ids=["by position", "by scan"])
def test_random_samples(store: SampleStore, monkeypatch: pytest.MonkeyPatch, gain: int) -> None:
    monkeypatch.setattr(_sample_reads, "SCAN_GAIN", gain)
    store.delete("digits", range(0, ROWS, 8))
    exclude = list(range(4, 100, 4))
    keys = keys_of(store.take_random("digits", "train", 40, seed=3, exclude=exclude))
    assert len(set(keys.tolist())) == 40
    assert set((keys % 4).tolist()) == {SPLIT_CODE["train"]}
    assert not set(keys.tolist()) & {*exclude, *range(0, ROWS, 8)}
    assert sorted(keys.tolist()) != keys.tolist()
    again = keys_of(store.take_random("digits", "train", 40, seed=3, exclude=exclude))
    np.testing.assert_array_equal(again, keys)
    other = keys_of(store.take_random("digits", "train", 40, seed=4, exclude=exclude))
    assert set(other.tolist()) != set(keys.tolist())
    rest = [key for key in range(4, ROWS, 8) if key >= 100]
    every = store.take_random("digits", "train", len(rest), seed=0, exclude=exclude)
    assert sorted(keys_of(every).tolist()) == rest
    assert len(store.take_random("digits", "train", 0, seed=0)) == 0


@pytest.mark.parametrize("gain", [1, 10**9], ids=["by position", "by scan"])
def test_random_samples_are_uniform(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch, gain: int
) -> None:
    monkeypatch.setattr(_sample_reads, "SCAN_GAIN", gain)
    exclude = range(40, ROWS)  # ten remain of each split
    times = np.zeros(40)
    for seed in range(100):
        times[keys_of(store.take_random("digits", "test", 5, seed=seed, exclude=exclude))] += 1
    # Each of the ten is taken Binomial(100, 1/2) times: five sigma, and none elsewhere.
    assert times.sum() == 500
    assert np.all(np.abs(times[3::4] - 50) <= 25)


def test_too_few_samples(store: SampleStore) -> None:
    with pytest.raises(TooFewSamples, match="has 150 samples of split 'heldout'"):
        store.take_random("digits", "heldout", 151, seed=0)


def test_load(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sample_reads, "LOAD_ROWS", 7)
    store.delete("digits", [2])
    batch = store.load("digits", "heldout", exclude=[6, 598])
    assert_batch(batch, list(range(10, 598, 4)))
    store.delete("digits", range(2, ROWS, 4))
    assert len(store.load("digits", "heldout")) == 0
