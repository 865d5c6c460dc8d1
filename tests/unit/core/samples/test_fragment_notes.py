"""What was found in a fragment holds while it is the same, and no longer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from core import _fragment_scans
from core import _sample_reads as reads
from core._fragment_notes import QUESTIONS, FragmentNotes
from core.samples import SPLIT_CODE, SampleStore, TooFewSamples
from tests.unit.core.samples.making import ROWS, SHAPE, batch_of, name_of
from tests.unit.core.samples.test_large import Watched


class Opened:
    """The data set as it is now, one instance of notes, and the fragments that were scanned."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._notes = FragmentNotes()
        self.scanned: list[int] = []

    def rows(self, *subjects: int, column: str = "subject") -> Any:
        ds = Watched(self._root)
        found = self._notes.where(ds, column, np.array(subjects, np.int64))
        self.scanned = [number for each in ds.scanned for number in each]
        plain = lance.dataset(str(self._root / "digits.lance"))
        stored = plain.to_table(columns=[column]).column(column).to_numpy()
        np.testing.assert_array_equal(found, np.flatnonzero(np.isin(stored, subjects)))
        return found


def test_what_is_known_of_a_fragment_is_not_looked_for_again(
    store: SampleStore, root: Path
) -> None:
    opened = Opened(root)
    assert opened.rows(3, 42).tolist() == [*range(30, 40), *range(420, 430)]
    assert opened.scanned == [0, 1, 2, 3, 4, 5]
    opened.rows(3, 42)
    assert opened.scanned == []
    opened.rows(3, 43)
    assert len(opened.scanned) == 6, "another question"
    opened.rows(3, 42, column="key")
    assert len(opened.scanned) == 6, "another column"
    assert opened.rows().tolist() == []
    assert opened.scanned == []


def test_only_fragments_that_changed_are_read_again(store: SampleStore, root: Path) -> None:
    opened = Opened(root)
    opened.rows(3, 42)
    store.delete("digits", [35, 36])
    opened.rows(3, 42)
    assert opened.scanned == [0]
    store.delete("digits", [37])
    opened.rows(3, 42)
    assert opened.scanned == [0], "a second deletion in the same fragment"
    store.purge("digits")
    opened.rows(3, 42)
    assert opened.scanned == [6], "it was rewritten"
    store.append("digits", [batch_of(range(ROWS, ROWS + 40))])
    opened.rows(3, 42)
    assert opened.scanned == [7]
    store.delete("digits", range(100, 200))
    opened.rows(3, 42)
    assert opened.scanned == [], "a fragment that is gone moves the others"


def test_keys_of_fragments_are_read_once(store: SampleStore, root: Path) -> None:
    notes, taken = FragmentNotes(), []

    class Taking(Watched):
        def take(self, at: list[int], **options: Any) -> Any:
            taken.append(at)
            return self._ds.take(at, **options)

    for _ in range(2):
        ranges = notes.key_ranges(Taking(root))
        assert ranges.first.tolist() == [0, 100, 200, 300, 400, 500]
        assert ranges.last.tolist() == [99, 199, 299, 399, 499, 599]
    assert len(taken) == 1
    store.delete("digits", [200, *range(300, 400)])
    ranges = notes.key_ranges(Taking(root))
    assert ranges.first.tolist() == [0, 100, 201, 400, 500]
    assert ranges.start.tolist() == [0, 100, 200, 299, 399]
    assert taken[1:] == [[200, 298]], "two rows of the one that changed"


def test_keys_are_looked_for_once(store: SampleStore, root: Path) -> None:
    notes, wanted = FragmentNotes(), np.array([99, 150, 450, 10**6])
    ds = Watched(root)
    for _ in range(2):
        assert notes.with_keys(ds, wanted).tolist() == [99, 150, 450]
    assert ds.scanned == [[0, 1, 4]]
    store.delete("digits", [10, 150, *range(200, 300)])
    ds = Watched(root)
    assert notes.with_keys(ds, wanted).tolist() == [98, 348]
    assert ds.scanned == [[0, 1]]
    assert notes.with_keys(ds, wanted[:0]).tolist() == []


def test_keys_of_rows_that_were_found_are_not_looked_for(store: SampleStore, root: Path) -> None:
    """Two people of one fragment and one of another; then a third loses a sample."""
    notes, ds = FragmentNotes(), Watched(root)
    found = reads.of_subjects(ds, np.array([3, 7, 45]), notes)
    keys = np.sort(found.column("key").to_numpy())
    assert keys.tolist() == [*range(30, 40), *range(70, 80), *range(450, 460)]
    ds.scanned.clear()
    assert notes.with_keys(ds, keys).tolist() == keys.tolist()
    assert ds.scanned == []
    store.delete("digits", [5])
    ds = Watched(root)
    assert notes.with_keys(ds, keys).tolist() == (keys - 1).tolist()
    assert ds.scanned == [[0]]
    at = notes.with_keys(ds, keys).tolist()
    assert ds.take(at, columns=["key"]).column("key").to_pylist() == keys.tolist()


def test_a_split_is_read_where_it_lies(store: SampleStore, root: Path) -> None:
    """Of the first 600 rows every fourth is of each split; then come fifty of "reference"."""
    for keys in (range(ROWS, ROWS + 50), range(ROWS + 50, ROWS + 90)):
        code = SPLIT_CODE["reference" if keys.start == ROWS else "test"]
        splits = np.full(len(keys), code, np.int8)
        store.append("digits", [replace(batch_of(keys), splits=splits)])
    store.delete("digits", range(ROWS))
    store.purge("digits")
    notes, ds = FragmentNotes(), Watched(root)
    assert notes.split_size(ds, SPLIT_CODE["reference"]) == 50
    assert notes.split_size(ds, SPLIT_CODE["test"]) == 40
    assert notes.split_size(ds, SPLIT_CODE["train"]) == 0
    assert ds.scanned == [[6, 7]], "one pass for all splits"
    assert notes.of_split(ds, SPLIT_CODE["test"]).tolist() == list(range(50, 90))
    assert ds.scanned[1:] == [[7]]
    assert notes.of_split(ds, SPLIT_CODE["train"]).tolist() == []
    assert len(store.load("digits", "reference")) == 50
    part = store.load("digits", "test", most=10)
    assert set(part.keys.tolist()) < set(range(ROWS + 50, ROWS + 90))


def test_splits_are_counted_over_batches_and_gaps(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fragment_scans, "SCAN_ROWS", 33)
    notes = FragmentNotes()
    for gone in ([], [5], range(200, 300), range(500, ROWS)):
        store.delete("digits", gone)
        ds = lance.dataset(str(root / "digits.lance"))
        splits = ds.to_table(columns=["split"]).column("split").to_numpy()
        for code in SPLIT_CODE.values():
            there = np.flatnonzero(splits == code)
            assert notes.split_size(ds, code) == len(there)
            np.testing.assert_array_equal(notes.of_split(ds, code), there)


def test_the_oldest_question_is_forgotten(store: SampleStore, root: Path) -> None:
    opened = Opened(root)
    for subject in range(QUESTIONS):
        opened.rows(subject)
    opened.rows(0)
    assert opened.scanned == []
    opened.rows(QUESTIONS)
    opened.rows(0)
    assert opened.scanned == [], "it was asked for since"
    opened.rows(1)
    assert len(opened.scanned) == 6


def test_data_sets_in_turn_do_not_forget_each_other(store: SampleStore, root: Path) -> None:
    store.create("others", SHAPE)
    store.append("others", [batch_of(range(50))])
    notes = FragmentNotes()
    for turn in range(2):
        for name, there in (("digits", ROWS), ("others", 50)):
            ds = Watched(root, name)
            assert notes.split_size(ds, SPLIT_CODE["train"]) == -(-there // 4)
            assert notes.where(ds, "key", np.array([7], np.int64)).tolist() == [7]
            notes.key_ranges(ds)
            assert bool(ds.scanned) == (turn == 0)


@pytest.mark.parametrize("emptied", [False, True])
def test_nothing_is_found_where_nothing_is(store: SampleStore, emptied: bool) -> None:
    """A data set without a fragment, because nothing ever came or because all were erased."""
    store.create("none", SHAPE)
    if emptied:
        store.append("none", [batch_of(range(40))])
        assert len(store.find_subject("none", [1]).keys) == 10
        store.delete("none", range(40))
        store.purge("none")
    assert len(store.find_subject("none", [1]).keys) == 0
    assert store.find_sample_ids("none", [name_of(3)]) == {}
    assert store.copies("none", [3]).tolist() == []
    assert store.there("none", [3]).tolist() == []
    assert store.keys_from("none", 0).tolist() == []
    assert store.count("none", "train") == 0
    assert not store.more_than("none", 0, "train")
    assert len(store.load("none", "reference")) == 0
    assert len(store.load("none", "reference", most=5)) == 0
    with pytest.raises(TooFewSamples):
        store.take_random("none", "train", 1, seed=0)


def test_a_note_tells_nobody_what_was_looked_for(store: SampleStore, root: Path) -> None:
    notes = FragmentNotes()
    notes.where(lance.dataset(str(root / "digits.lance")), "subject", np.array([7], np.int64))
    (question,) = notes._places._known
    _, column, digest = question.rsplit(maxsplit=2)
    assert (column, len(digest)) == ("subject", 64)
