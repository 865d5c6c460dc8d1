"""What a call reads hangs on what it is asked for, not on how much there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from core import _sample_reads as reads
from core import samples
from core._fragment_notes import FragmentNotes
from core.samples import SampleStore, TooFewSamples
from tests.unit.core.samples.making import ROWS, SHAPE, assert_batch, batch_of, keys_of


class Watched:
    """A data set that notes which fragments are scanned; "digits" has six of a hundred rows.

    known: whether it tells what was said of each when it was written; older data sets do not.
    """

    def __init__(self, root: Path, name: str = "digits", *, known: bool = False) -> None:
        self._ds: Any = lance.dataset(str(root / f"{name}.lance"))
        self._known = known
        self.scanned: list[list[int]] = []

    def config(self) -> dict[str, str]:
        return self._ds.config() if self._known else {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ds, name)

    def scanner(self, *, fragments: list[Any] | None = None, **options: Any) -> Any:
        chosen = self._ds.get_fragments() if fragments is None else fragments
        self.scanned.append([each.fragment_id for each in chosen])
        return self._ds.scanner(fragments=fragments, **options)


def test_a_key_is_looked_for_in_the_fragments_that_may_hold_it(
    store: SampleStore, root: Path
) -> None:
    store.delete("digits", [100, 199, 250, *range(300, 400)])
    ds = Watched(root)
    wanted = np.array([99, 150, 401, 599, 10**6])
    found = reads.rows_at(ds, FragmentNotes().with_keys(ds, wanted))
    assert found.keys.tolist() == [99, 150, 401, 599]
    assert ds.scanned == [[0, 1, 4, 5]]
    assert len(FragmentNotes().with_keys(ds, np.array([100, 199, 320, 10**6]))) == 0
    assert ds.scanned[1:] == [], "a fragment's first and last key told that they are not there"
    assert store.there("digits", [599, 100, 99, 99, 10**6]).tolist() == [99, 599]
    assert store.there("digits", []).tolist() == []


def test_keys_past_one_are_looked_for_in_the_last_fragments(store: SampleStore, root: Path) -> None:
    assert store.keys_from("digits", 597).tolist() == [597, 598, 599]
    assert store.keys_from("digits", ROWS).tolist() == []
    ds = Watched(root)
    assert reads.keys_in(ds, 497, 502, FragmentNotes()).tolist() == [497, 498, 499, 500, 501, 502]
    assert ds.scanned == [[4, 5]]


def test_it_reads_until_it_knows_that_there_are_more(store: SampleStore) -> None:
    there = store.count("digits", "train")
    assert store.more_than("digits", there - 1, "train")
    assert not store.more_than("digits", there, "train")


def test_of_a_large_split_always_the_same_part(store: SampleStore) -> None:
    whole = store.load("digits", "test")
    assert_batch(store.load("digits", "test", most=len(whole)), whole.keys.tolist())
    part = store.load("digits", "test", most=40, seed=3)
    assert len(part) == 40
    assert_batch(part, sorted(part.keys.tolist()))
    assert set(part.keys.tolist()) < set(whole.keys.tolist())
    assert store.load("digits", "test", most=40, seed=4).keys.tolist() != part.keys.tolist()
    gone, others = part.keys[:2].tolist(), set(part.keys[2:].tolist())
    left_out = store.load("digits", "test", most=40, seed=3, exclude=gone)
    assert set(left_out.keys.tolist()) == others
    store.delete("digits", gone)
    again = set(store.load("digits", "test", most=40, seed=3).keys.tolist())
    assert len(again) == 40
    assert others < again


def test_random_samples_are_drawn_below_a_key(store: SampleStore) -> None:
    batch = store.take_random("digits", "train", 25, seed=1, below=200)
    assert len(batch) == 25
    assert keys_of(batch).max() < 200
    with pytest.raises(TooFewSamples):
        store.take_random("digits", "train", 26, seed=1, below=100)


def test_keys_between_others_are_new(store: SampleStore) -> None:
    """An importer counts upwards; whoever does not is held to keys that are not there."""
    store.delete("digits", range(100, 110))
    store.append("digits", [batch_of(range(100, 105)), batch_of(range(105, 110))])
    assert_batch(store.take("digits", [104, 105]), [104, 105])


def test_a_bucket_that_refuses_to_drop_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        class LanceDataset:
            @staticmethod
            def drop(*_: object, **__: object) -> None:
                raise OSError("access denied")

    monkeypatch.setattr(samples, "load_lance", Refusing)
    with pytest.raises(samples.SampleStoreUnreadable):
        samples.SampleStore("s3://nowhere/samples").drop("people")


def test_of_fragments_of_one_split_nothing_is_read_to_choose(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = samples.SPLIT_CODE["train"]
    store.create("parts", SHAPE)
    for start, splits in ((0, [code]), (300, [code, 1]), (400, [2]), (500, [code])):
        keys = range(start, 300 if start == 0 else start + 100)
        mixed = np.resize(np.array(splits, np.int8), len(keys))
        store.append("parts", [replace(batch_of(keys), splits=mixed)])
    store.delete("parts", range(10, 20))
    banned, taken = np.array([0, 7, 302, 399, 550]), []

    class Taking(Watched):
        def take(self, at: list[int], **options: Any) -> Any:
            taken.extend(at if "split" in options["columns"] else [])
            return self._ds.take(at, **options)

    for below in (10**6, 580):
        taken.clear()
        ds = Taking(root, "parts")
        table = ds.to_table(columns=["key", "split"])
        wanted = reads.Eligible(code, banned, below, FragmentNotes())
        right = np.flatnonzero(wanted.of(table))
        at = np.arange(1, len(table), 2)
        assert set(wanted.among(ds, at).tolist()) == set(right.tolist()) & set(at.tolist())
        read = set(table.column("key").to_numpy()[taken].tolist())
        assert read == {key for key in range(300, 500) if key % 2} | (
            {key for key in range(500, 600) if key % 2} if below == 580 else set()
        )
    monkeypatch.setattr(reads, "SCAN_GAIN", 1)
    seen: set[int] = set()
    for seed in range(150):
        batch = store.take_random("parts", "train", 40, seed=seed, exclude=banned, below=580)
        keys = keys_of(batch).tolist()
        assert len(set(keys)) == 40
        seen.update(keys)
    there = [*range(10), *range(20, 300), *range(300, 400, 2), *range(500, 580)]
    assert seen == set(there) - set(banned.tolist())
