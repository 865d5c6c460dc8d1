"""What was found in each fragment of a data set, noted for as long as the fragment is the same.

A job looks for the same people and copies before it deletes, in between, and afterwards. The rows
of a fragment never change: its data files are written once, and a deletion adds another deletion
file. So what was found in it holds until one of these is another, and only fragments that changed
are read again; after a deletion or a rewrite by this process not even those, for it knows which
rows went. A note tells positions; what was looked for it keeps as a digest only.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from core import _fragment_scans as scans
from core._fragment_scans import Positions, starts_of
from core._sample_batch import SPLIT_CODE, Int64

Rows = tuple[str, ...]  # names the rows that a fragment has: its data files and its deletion file

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

    def carry(self, moves: Mapping[Rows, tuple[Rows, Callable[[T], T]]]) -> None:
        """Know of each new fragment what is known of an old one, put through its function."""
        with self._lock:
            for known in self._known.values():
                for old, (new, put) in moves.items():
                    if old in known:
                        known[new] = put(known[old])


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
            return scans.where(ds, [fragments[number] for number in new], column, wanted)

        found = self._places.of(f"{ds.uri} {column} {_digest(wanted)}", fragments, scan)
        return _joined(starts_of(fragments), found)

    def with_keys(self, ds: Any, wanted: Int64) -> Positions:
        """Where the rows with these keys (ascending) are, counted without the deleted rows.

        Keys ascend within a fragment: an append demands it and a rewrite keeps the order. So the
        first and the last key of a fragment tell whether it has to be read.
        """
        ranges = self.key_ranges(ds)
        hit = np.searchsorted(wanted, ranges.first) < np.searchsorted(wanted, ranges.last, "right")
        fragments = [each for each, one in zip(ranges.fragments, hit, strict=True) if one]

        def scan(new: list[int]) -> list[Positions]:
            return scans.where_keys(ds, [fragments[number] for number in new], wanted)

        found = self._places.of(_by_key(ds, wanted), fragments, scan)
        return _joined(ranges.start[hit], found)

    def known_keys(self, ds: Any, keys: Int64, where: Positions) -> None:
        """Note what `with_keys` would read of these keys, whose rows are at these positions, which
        ascend."""
        fragments = ds.get_fragments()
        parts = _parted(fragments, where)

        def known(new: list[int]) -> list[Positions]:
            return [parts[number] for number in new]

        self._places.of(_by_key(ds, np.sort(keys)), fragments, known)

    def deleted(self, before: list[Any], after: list[Any], where: Positions) -> None:
        """Carry the places over a deletion of the rows at these positions, which ascend.

        before, after: the fragments of the two versions. One from which another process deleted
        in between has lost more rows than these, and is read again.
        """
        there = {each.fragment_id: each for each in after}
        moves = {}
        for old, gone in zip(before, _parted(before, where), strict=True):
            new = there.get(old.fragment_id)
            if len(gone) and new and new.num_deletions == old.num_deletions + len(gone):
                moves[_rows_of(old)] = (_rows_of(new), partial(_without, gone=gone))
        self._places.carry(moves)

    def rewritten(self, old: Any, new: Any) -> None:
        """Carry what is known of a fragment over to the one with its rows, in their order."""
        was, now = _rows_of(old), _rows_of(new)
        self._places.carry({was: (now, _same)})
        self._splits.carry({was: (now, _same)})
        self._ends.carry({was: (now, _same)})

    def with_split(self, ds: Any, code: int) -> tuple[list[Any], Int64, int]:
        """The fragments that have rows of a split, where each begins, and how many such rows there
        are in all.

        One pass over a column of a byte a row of new fragments of which nothing is said, whichever
        the split.
        """
        fragments = ds.get_fragments()
        counts = self._counts(ds, fragments)[:, code]
        hit = np.flatnonzero(counts)
        return [fragments[at] for at in hit], starts_of(fragments)[hit], int(counts.sum())

    def _counts(self, ds: Any, fragments: list[Any]) -> Int64:
        def count(new: list[int]) -> list[list[int]]:
            return scans.split_counts(ds, [fragments[number] for number in new])

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
        found = scans.where_split(ds, fragments, code)
        return _joined(starts, found)

    def whole(self, ds: Any, code: int, below: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Where each fragment that has rows begins, and whether all its rows are of this split and
        have keys below `below`."""
        ranges = self.key_ranges(ds)
        counts = self._counts(ds, ranges.fragments)[:, code]
        return ranges.start, (counts == ranges.rows) & (ranges.last < below)

    def key_ranges(self, ds: Any) -> KeyRanges:
        """Two rows are read of each fragment of which nothing is known."""
        fragments = [each for each in ds.get_fragments() if each.count_rows()]
        rows = np.array([each.count_rows() for each in fragments], np.int64)
        start = starts_of(fragments)

        def ends(new: list[int]) -> list[tuple[int, int]]:
            at = np.stack([start[new], start[new] + rows[new] - 1], axis=1)
            return scans.key_ends(ds, [fragments[number] for number in new], at)

        known = np.array(self._ends.of(ds.uri, fragments, ends), np.int64).reshape(-1, 2)
        return KeyRanges(fragments, start, rows, known[:, 0], known[:, 1])


def _joined(starts: Int64, found: list[Positions]) -> Positions:
    """Positions within each fragment as positions in all of them."""
    pieces = [start + each for start, each in zip(starts, found, strict=True)]
    return np.concatenate([np.empty(0, np.intp), *pieces])


def _parted(fragments: list[Any], where: Positions) -> list[Positions]:
    """The inverse of `_joined`, of positions that ascend: one part for each fragment."""
    starts = starts_of(fragments)
    parts = np.split(where, np.searchsorted(where, starts[1:]))
    # Of no fragment at all, numpy makes one part, which is empty.
    return [part - start for part, start in zip(parts, starts, strict=False)]


def _rows_of(fragment: Any) -> Rows:
    deletion = fragment.deletion_file()
    return (*(file.path for file in fragment.data_files()), *([deletion] if deletion else []))


def _without(there: Positions, gone: Positions) -> Positions:
    """Positions in a fragment once the rows at `gone` have left it; both ascend."""
    left: Positions = np.setdiff1d(there, gone, assume_unique=True)
    return left - np.searchsorted(gone, left)


def _same(known: T) -> T:
    return known


def _by_key(ds: Any, wanted: Int64) -> str:
    return f"{ds.uri} with key {_digest(wanted)}"


def _digest(wanted: Int64) -> str:
    return hashlib.sha256(wanted.tobytes()).hexdigest()
