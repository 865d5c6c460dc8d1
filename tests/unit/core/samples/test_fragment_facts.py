"""What the manifest says of a fragment is so, and saves looking into it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import _sample_batch as columns
from core import samples
from core._fragment_facts import Facts, facts_in, facts_of
from core._fragment_notes import FragmentNotes
from core.samples import (
    SPLIT_CODE,
    SPLITS,
    DatasetBusy,
    SampleStore,
    SampleStoreUnreadable,
)
from tests.unit.core.samples.making import ROWS, SHAPE, batch_of, holding
from tests.unit.core.samples.test_large import Watched

LIGHT = ["key", "subject", "split"]


def opened(root: Path) -> Any:
    return lance.dataset(str(root / "digits.lance"))


def said(root: Path) -> list[Facts | None]:
    ds = opened(root)
    return facts_of(ds, ds.get_fragments())


def is_so(root: Path) -> bool:
    """Of every fragment something is said; of whole ones exactly what is in it, and of others
    nothing that a row in it would contradict."""
    ds = opened(root)
    for fragment, facts in zip(ds.get_fragments(), said(root), strict=True):
        there = facts_in(ds.scanner(columns=LIGHT, fragments=[fragment]).to_table())
        if facts is None:
            return False
        if not fragment.num_deletions and facts != there:
            return False
        inside = facts.least <= there.least <= there.most <= facts.most
        if not inside or not facts.first <= there.first <= there.last <= facts.last:
            return False
    return True


# Writers: how many samples come of how many people, which of those there go, or a purge.
append = st.tuples(st.just("append"), st.integers(1, 40), st.integers(1, 6))
delete = st.tuples(st.just("delete"), st.integers(1, 30), st.integers(0, 2**16))
purge = st.tuples(st.just("purge"), st.just(0), st.just(0))


@settings(max_examples=20)
@given(st.lists(st.one_of(append, append, delete, delete, purge), min_size=2, max_size=9))
def test_what_is_said_and_noted_is_so_whatever_is_done(does: list[tuple[str, int, int]]) -> None:
    """One store asks after each step, so that it has notes; another has none."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        noting = SampleStore(folder)
        noting.create("digits", SHAPE)
        there: dict[int, tuple[int, int]] = {}
        nobody = 0
        for what, many, number in does:
            if what == "append":
                first = nobody
                batch = batch_of(range(first, first + many))
                mine = replace(
                    batch,
                    subjects=batch.keys % number,
                    splits=(batch.keys // 7 % len(SPLITS)).astype(np.int8),
                )
                noting.append("digits", [mine])
                for key, of, split in zip(mine.keys, mine.subjects, mine.splits, strict=True):
                    there[int(key)] = (int(of), int(split))
                nobody += many
            elif what == "delete":
                keys = list(there)
                some = np.random.default_rng(number).permutation(len(keys))[:many]
                assert noting.delete("digits", [keys[at] for at in some]) == len(some)
                for at in some:
                    del there[keys[at]]
            else:
                noting.purge("digits")
            assert is_so(root)
            for store in (noting, SampleStore(folder)):
                for people in ([0, 3], [5], [2, 9]):
                    wanted = [key for key, (of, _) in there.items() if of in people]
                    assert sorted(store.keys_of_subjects("digits", people)) == wanted
                assert store.there("digits", range(nobody)).tolist() == list(there)
                for split, code in SPLIT_CODE.items():
                    of_it = [key for key, (_, at) in there.items() if at == code]
                    assert sorted(store.load("digits", split).keys) == of_it
                    assert store.more_than("digits", len(of_it) - 1, split)
                    assert not store.more_than("digits", len(of_it), split)


def test_only_fragments_that_may_hold_somebody_are_read(store: SampleStore, root: Path) -> None:
    ds = Watched(root, known=True)
    found = FragmentNotes().where(ds, "subject", np.array([3, 42, 10**6]))
    assert found.tolist() == [*range(30, 40), *range(420, 430)]
    assert ds.scanned == [[0, 4]]
    assert len(FragmentNotes().where(ds, "subject", np.array([10**6]))) == 0
    assert ds.scanned[1:] == []
    store.delete("digits", range(35, 100))
    ds = Watched(root, known=True)
    wanted = np.array([3, 9])
    assert FragmentNotes().where(ds, "subject", wanted).tolist() == [*range(30, 35)]
    assert ds.scanned == [[0]], "subject 9 may have been in it when it was written"


def test_splits_and_keys_are_read_only_of_what_lost_rows(store: SampleStore, root: Path) -> None:
    store.delete("digits", [0, 101])
    taken: list[list[int]] = []

    class Taking(Watched):
        def take(self, at: list[int], **options: Any) -> Any:
            taken.append(at)
            return self._ds.take(at, **options)

    notes, ds = FragmentNotes(), Taking(root, known=True)
    ranges = notes.key_ranges(ds)
    assert ranges.first.tolist() == [1, 100, 200, 300, 400, 500]
    assert ranges.last.tolist() == [99, 199, 299, 399, 499, 599]
    assert taken == [[0, 98, 99, 197]]
    assert notes.split_size(ds, SPLIT_CODE["train"]) == ROWS // 4 - 1
    assert notes.split_size(ds, SPLIT_CODE["reference"]) == ROWS // 4 - 1
    assert ds.scanned == [[0, 1]]


def test_a_purge_tells_of_what_it_wrote_and_of_older_data_sets(
    store: SampleStore, root: Path
) -> None:
    ds = opened(root)
    ds.update_config(dict.fromkeys(ds.config()))
    assert said(root) == [None] * 6
    assert store.keys_of_subjects("digits", [3]).tolist() == list(range(30, 40))
    store.delete("digits", [*range(5), *range(500, ROWS)])
    store.purge("digits")
    assert is_so(root)
    assert len(opened(root).config()) == 5, "of the one that is gone nothing is said"
    first = SampleStore(str(root)).find_subject("digits", [0])
    assert first.keys.tolist() == list(range(5, 10))


def test_a_column_that_is_added_later_makes_it_unknown(store: SampleStore, root: Path) -> None:
    """Every fragment has two files then, and as many rows as any other."""
    opened(root).add_columns({"weight": "1.0"})
    assert said(root) == [None] * 6
    for _ in range(2):
        fresh = SampleStore(str(root))
        for subject in (0, 17, 59):
            own = list(range(10 * subject, 10 * subject + 10))
            assert fresh.keys_of_subjects("digits", [subject]).tolist() == own
        fresh.purge("digits")
        assert is_so(root)
    assert len(opened(root).config()) == 6


def test_of_other_splits_nothing_is_known(root: Path) -> None:
    ds = opened(root)
    name, text = next(iter(ds.config().items()))
    ds.update_config({name: text.replace("[25, ", "[25, 0, ", 1)})
    assert said(root).count(None) == 1


@pytest.mark.parametrize("error", [DatasetBusy, SampleStoreUnreadable])
def test_nothing_that_is_to_be_destroyed_waits_for_what_is_said(
    store: SampleStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    def missing(_: object) -> None:
        raise error("no")

    store.delete("digits", [3])
    assert holding(root, 3)
    monkeypatch.setattr(samples, "missing", missing)
    assert store.purge("digits").complete
    assert not holding(root, 3)
    assert "not written down: no" in caplog.text
    assert said(root).count(None) == 1
    assert SampleStore(str(root)).there("digits", range(5)).tolist() == [0, 1, 2, 4]


def test_what_is_said_of_so_many_other_rows_is_not_taken(store: SampleStore, root: Path) -> None:
    ds = opened(root)
    name, text = next(iter(ds.config().items()))
    ds.update_config({name: text.replace("100", "99", 1)})
    assert said(root).count(None) == 1
    for subject in range(ROWS // 10):
        assert len(store.keys_of_subjects("digits", [subject])) == 10


def test_an_append_that_fails_leaves_no_word_behind(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LostError(Exception):
        pass

    def commit(*_: object) -> None:
        assert len(opened(root).config()) == 7, "it is said before the rows are there"
        raise LostError

    with monkeypatch.context() as patched:
        patched.setattr(store, "_commit_append", commit)
        with pytest.raises(LostError):
            store.append("digits", [batch_of(range(ROWS, ROWS + 5))])
    assert store.count("digits") == ROWS
    store.purge("digits")
    assert len(opened(root).config()) == 6


def test_facts_are_of_the_rows_in_a_table() -> None:
    batch = batch_of(range(40, 60))
    table = columns.to_arrow(batch, columns.schema_of(SHAPE))
    assert facts_in(table) == Facts(20, 40, 59, 4, 5, (5, 5, 5, 5))
    facts = facts_in(table)
    assert facts.may_hold(np.array([4]))
    assert facts.may_hold(np.array([0, 5, 9]))
    assert not facts.may_hold(np.array([0, 3, 6]))
    assert not facts.may_hold(np.array([], np.int64))
