"""What was found in each fragment of a data set, noted for as long as the fragment is the same.

A job looks for the same people and copies before it deletes, in between, and afterwards. The rows
of a fragment never change: its data files are written once, and a deletion adds another deletion
file. So what was found in it holds until one of these is another, and only fragments that changed
are read again. A note tells positions; what was looked for it keeps as a digest only.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from core._sample_batch import SPLIT_CODE, Int64

Positions = npt.NDArray[np.intp]
Rows = tuple[str, ...]  # names the rows that a fragment has: its data files and its deletion file

SCAN_ROWS = 65_536  # of one batch of a light column
LOW_BITS = 2**16 - 1
QUESTIONS = 16  # of which notes are kept
DATA_SETS = 64  # whose splits and keys are known: a few numbers a fragment

T = TypeVar("T")


@dataclass(frozen=True)
class KeyRanges:
    """The fragments that have rows, where the rows of each begin, how many there are, and its
    first and last key."""

    fragments: list[Any]
    start: Int64
    rows: Int64
    first: Int64
    last: Int64


class Noted(Generic[T]):
    """Something known of each fragment, for the last few `subjects`; threads may share it."""

    def __init__(self, subjects: int) -> None:
        self._lock = threading.Lock()
        self._subjects = subjects
        self._known: OrderedDict[str, dict[Rows, T]] = OrderedDict()

    def of(
        self, subject: str, fragments: list[Any], find: Callable[[list[int]], Iterable[T]]
    ) -> list[T]:
        """What is known of each fragment; `find` tells it of the new ones, by their numbers."""
        names = [_rows_of(each) for each in fragments]
        with self._lock:
            known = dict(self._known.get(subject, {}))
        new = [number for number, name in enumerate(names) if name not in known]
        if new:
            known.update(zip((names[number] for number in new), find(new), strict=True))
        answer = [known[name] for name in names]
        with self._lock:
            self._known[subject] = dict(zip(names, answer, strict=True))
            self._known.move_to_end(subject)
            while len(self._known) > self._subjects:
                self._known.popitem(last=False)
        return answer


class FragmentNotes:
    """The notes of one process; threads may share them."""

    def __init__(self) -> None:
        self._places: Noted[Positions] = Noted(QUESTIONS)
        self._splits: Noted[list[int]] = Noted(DATA_SETS)
        self._ends: Noted[tuple[int, int]] = Noted(DATA_SETS)

    def where(self, ds: Any, column: str, wanted: Int64) -> Positions:
        """Where the rows are whose 64-bit `column` holds one of these numbers, which ascend."""
        if not len(wanted):
            return np.empty(0, np.intp)
        fragments = ds.get_fragments()

        def scan(new: list[int]) -> list[Positions]:
            return _scan(ds, [fragments[number] for number in new], column, wanted)

        found = self._places.of(f"{ds.uri} {column} {_digest(wanted)}", fragments, scan)
        return _joined(_starts(fragments), found)

    def with_keys(self, ds: Any, wanted: Int64) -> Positions:
        """Where the rows with these keys (ascending) are, counted without the deleted rows.

        Keys ascend within a fragment: an append demands it and a rewrite keeps the order. So the
        first and the last key of a fragment tell whether it has to be read.
        """
        ranges = self.key_ranges(ds)
        hit = np.searchsorted(wanted, ranges.first) < np.searchsorted(wanted, ranges.last, "right")
        fragments = [each for each, one in zip(ranges.fragments, hit, strict=True) if one]

        def scan(new: list[int]) -> list[Positions]:
            return _scan_keys(ds, [fragments[number] for number in new], wanted)

        found = self._places.of(_by_key(ds, wanted), fragments, scan)
        return _joined(ranges.start[hit], found)

    def known_keys(self, ds: Any, keys: Int64, where: Positions) -> None:
        """Note what `with_keys` would read of these keys, whose rows are at these positions, which
        ascend."""
        fragments = ds.get_fragments()
        starts = _starts(fragments)
        cuts = np.searchsorted(where, np.append(starts, ds.count_rows()))

        def known(new: list[int]) -> list[Positions]:
            return [where[cuts[number] : cuts[number + 1]] - starts[number] for number in new]

        self._places.of(_by_key(ds, np.sort(keys)), fragments, known)

    def with_split(self, ds: Any, code: int) -> tuple[list[Any], Int64, int]:
        """The fragments that have rows of a split, where each begins, and how many such rows there
        are in all.

        One pass over a column of a byte a row, whichever the split; then over new fragments only.
        """
        fragments = ds.get_fragments()
        counts = self._counts(ds, fragments)[:, code]
        hit = np.flatnonzero(counts)
        return [fragments[at] for at in hit], _starts(fragments)[hit], int(counts.sum())

    def _counts(self, ds: Any, fragments: list[Any]) -> Int64:
        def count(new: list[int]) -> list[list[int]]:
            return _count_splits(ds, [fragments[number] for number in new])

        counted = self._splits.of(ds.uri, fragments, count)
        return np.array(counted, np.int64).reshape(-1, len(SPLIT_CODE))

    def split_size(self, ds: Any, code: int) -> int:
        """How many rows a split has."""
        return self.with_split(ds, code)[2]

    def of_split(self, ds: Any, code: int) -> Positions:
        """Where the rows of a split are: for one that is a small part of all."""
        fragments, starts, _ = self.with_split(ds, code)
        if not fragments:
            return np.empty(0, np.intp)
        found = _stream(ds, fragments, "split", lambda codes: np.flatnonzero(codes == code))
        return _joined(starts, found)

    def whole(self, ds: Any, code: int, below: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Where each fragment that has rows begins, and whether all its rows are of this split and
        have keys below `below`."""
        ranges = self.key_ranges(ds)
        counts = self._counts(ds, ranges.fragments)[:, code]
        return ranges.start, (counts == ranges.rows) & (ranges.last < below)

    def key_ranges(self, ds: Any) -> KeyRanges:
        """Two rows are read of each fragment that is not known: 64k rows each."""
        fragments = [each for each in ds.get_fragments() if each.count_rows()]
        rows = np.array([each.count_rows() for each in fragments], np.int64)
        start = np.cumsum(rows) - rows

        def ends(new: list[int]) -> list[tuple[int, int]]:
            at = np.stack([start[new], start[new] + rows[new] - 1], axis=1).reshape(-1)
            keys = ds.take(at.tolist(), columns=["key"]).column("key").to_pylist()
            return list(zip(keys[::2], keys[1::2], strict=True))

        known = np.array(self._ends.of(ds.uri, fragments, ends), np.int64).reshape(-1, 2)
        return KeyRanges(fragments, start, rows, known[:, 0], known[:, 1])


def _starts(fragments: list[Any]) -> Int64:
    """Where the rows of each begin; there may be no fragment at all."""
    rows = np.array([each.count_rows() for each in fragments], np.int64)
    start: Int64 = np.cumsum(rows) - rows
    return start


def _joined(starts: Int64, found: list[Positions]) -> Positions:
    """Positions within each fragment as positions in all of them."""
    pieces = [start + each for start, each in zip(starts, found, strict=True)]
    return np.concatenate([np.empty(0, np.intp), *pieces])


def _rows_of(fragment: Any) -> Rows:
    deletion = fragment.deletion_file()
    return (*(file.path for file in fragment.data_files()), *([deletion] if deletion else []))


def _by_key(ds: Any, wanted: Int64) -> str:
    return f"{ds.uri} with key {_digest(wanted)}"


def _digest(wanted: Int64) -> str:
    return hashlib.sha256(wanted.tobytes()).hexdigest()


def _scan(ds: Any, fragments: list[Any], column: str, wanted: Int64) -> list[Positions]:
    """For each fragment where in it the wanted rows are.

    One pass over the column in a stream. Most rows are ruled out by their low 16 bits, with one
    look at a table: a filter of Lance's takes twice as long, a binary search of each row eight
    times.
    """
    may_be = np.zeros(LOW_BITS + 1, np.bool_)
    may_be[wanted & LOW_BITS] = True

    def in_batch(numbers: Int64) -> Positions:
        rows = np.flatnonzero(may_be[numbers & LOW_BITS])
        found = numbers[rows]
        right: Positions = rows[wanted[np.searchsorted(wanted[:-1], found)] == found]
        return right

    return _stream(ds, fragments, column, in_batch)


def _scan_keys(ds: Any, fragments: list[Any], wanted: Int64) -> list[Positions]:
    """The same for keys, which ascend: the few are looked for among the many."""

    def in_batch(keys: Int64) -> Positions:
        at = np.searchsorted(keys[:-1], wanted)
        right: Positions = at[keys[at] == wanted]
        return right

    return _stream(ds, fragments, "key", in_batch)


def _count_splits(ds: Any, fragments: list[Any]) -> list[list[int]]:
    """For each fragment how many rows of each split it has."""
    counts = np.zeros((len(fragments), len(SPLIT_CODE)), np.int64)
    end = np.cumsum([each.count_rows() for each in fragments])
    start = 0
    scanner = ds.scanner(
        columns=["split"], fragments=fragments, scan_in_order=True, batch_size=SCAN_ROWS
    )
    for batch in scanner.to_batches():
        codes = batch.column("split").to_numpy()
        first = int(np.searchsorted(end, start, "right"))
        cuts = end[first:] - start
        for number, part in enumerate(np.split(codes, cuts[cuts < len(codes)]), first):
            counts[number] += np.bincount(part, minlength=len(SPLIT_CODE))
        start += len(codes)
    found: list[list[int]] = counts.tolist()
    return found


def _stream(
    ds: Any, fragments: list[Any], column: str, in_batch: Callable[[Int64], Positions]
) -> list[Positions]:
    pieces, start = [np.empty(0, np.intp)], 0
    scanner = ds.scanner(
        columns=[column], fragments=fragments, scan_in_order=True, batch_size=SCAN_ROWS
    )
    for batch in scanner.to_batches():
        numbers = batch.column(column).to_numpy()
        pieces.append(start + in_batch(numbers))
        start += len(numbers)
    there = np.concatenate(pieces)
    end = np.cumsum([each.count_rows() for each in fragments])
    starts = np.concatenate([[0], end[:-1]])
    parts = np.split(there, np.searchsorted(there, end[:-1]))
    return [part - start for part, start in zip(parts, starts, strict=True)]
