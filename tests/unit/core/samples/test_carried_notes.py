"""What a store found it knows after its own deletions and purges, and not after another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import pytest

from core import _fragment_scans, _sample_purge, samples
from core.samples import SampleStore


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many fragments each scan of a store reads."""
    read: list[int] = []
    stream = _fragment_scans._stream

    def noted(ds: Any, fragments: list[Any], *rest: Any) -> Any:
        read.append(len(fragments))
        return stream(ds, fragments, *rest)

    monkeypatch.setattr(_fragment_scans, "_stream", noted)
    return read


def test_what_was_found_is_known_after_a_deletion_and_a_purge(
    store: SampleStore, reading: list[int]
) -> None:
    """The people lose some samples, and others beside them too."""
    people = [3, 4, 21]
    assert len(store.keys_of_subjects("digits", people)) == 30
    gone = [10, 11, 31, 32, 39, 45, 99, 219]
    store.delete("digits", gone)
    reading.clear()
    left = [*(key for key in range(30, 50) if key not in gone), *range(210, 219)]
    assert store.keys_of_subjects("digits", people).tolist() == left
    store.purge("digits")
    assert store.keys_of_subjects("digits", people).tolist() == left
    assert sum(reading) == 0, "their places follow from what was deleted"
    store.delete("digits", [200])
    store.delete("digits", [205, 30])
    left.remove(30)
    reading.clear()
    assert store.keys_of_subjects("digits", people).tolist() == left
    assert sum(reading) == 0


def test_what_another_deletes_is_read_again(
    store: SampleStore, root: Path, reading: list[int]
) -> None:
    rival = SampleStore(str(root))
    store.keys_of_subjects("digits", [3, 21])
    rival.delete("digits", [5, 30])
    reading.clear()
    found = store.keys_of_subjects("digits", [3, 21]).tolist()
    assert found == [*range(31, 40), *range(210, 220)]
    assert reading == [1]


def test_what_another_deletes_in_between_is_read_again(
    store: SampleStore, root: Path, reading: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival's deletion comes after the rows were looked for and before they are deleted."""
    rival, turns = SampleStore(str(root)), [0]
    delete = lance.LanceDataset.delete

    def late(ds: Any, predicate: str) -> Any:
        turns[0] += 1
        if turns[0] == 1:
            rival.delete("digits", [34, 210])
        return delete(ds, predicate)

    store.keys_of_subjects("digits", [3, 21])
    monkeypatch.setattr(lance.LanceDataset, "delete", late)
    assert store.delete("digits", [30, 31]) == 2
    reading.clear()
    left = [32, 33, *range(35, 40), *range(211, 220)]
    assert store.keys_of_subjects("digits", [3, 21]).tolist() == left
    assert sum(reading) == 2, "both fragments lost more than this store deleted"


def test_rows_of_a_fragment_that_lost_some_are_deleted_by_address(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicates: list[str] = []
    deleted = samples._deleted

    def noted(ds: Any, predicate: str, check: Any) -> int:
        predicates.append(predicate)
        return deleted(ds, predicate, check)

    monkeypatch.setattr(samples, "_deleted", noted)
    for key in (7, 3, 450, 5):
        assert store.delete("digits", [key]) == 1
    assert len(predicates) == 4, "by key, with a look at every row, it was never tried"
    assert store.there("digits", range(10)).tolist() == [0, 1, 2, 4, 6, 8, 9]


def test_a_fragment_that_another_rewrites_meanwhile_is_left_to_it(
    store: SampleStore, root: Path, reading: list[int]
) -> None:
    """It comes before the first of two is rewritten, and takes the second."""
    opened = lance.dataset(str(root / "digits.lance"))
    store.keys_of_subjects("digits", [3, 21])
    store.delete("digits", [30, 210])
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 1:
            ids = [each.fragment_id for each in opened.get_fragments()]
            opened.checkout_latest()
            opened.optimize.compact_files(
                materialize_deletions_threshold=0.0,
                excluded_fragment_ids=[each for each in ids if each != 2],
            )

    rewritten: set[int] = set()
    _sample_purge.rewrite_fragments(store._open("digits"), rewritten, store._notes, check)
    assert rewritten == {0}
    reading.clear()
    left = [*range(31, 40), *range(211, 220)]
    assert sorted(store.keys_of_subjects("digits", [3, 21])) == left
    assert reading == [2], "of two new fragments it is not known which is which: both are read"
    assert store.purge("digits").fragments == 0
