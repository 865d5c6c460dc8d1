"""Looks into the light columns of fragments, at those only that may hold what is looked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from core._fragment_facts import exact, facts_of
from core._sample_batch import SPLIT_CODE, Int64

Positions = npt.NDArray[np.intp]

SCAN_ROWS = 65_536  # of one batch of a light column
LOW_BITS = 2**16 - 1


def starts_of(fragments: list[Any]) -> Int64:
    """Where the rows of each begin; there may be no fragment at all."""
    rows = np.array([each.count_rows() for each in fragments], np.int64)
    start: Int64 = np.cumsum(rows) - rows
    return start


def where(ds: Any, fragments: list[Any], column: str, wanted: Int64) -> list[Positions]:
    """For each fragment where in it the rows are whose 64-bit `column` holds one of these numbers,
    which ascend."""
    if column != "subject":
        return _scan(ds, fragments, column, wanted)
    read = [facts is None or facts.may_hold(wanted) for facts in facts_of(ds, fragments)]
    found = iter(_scan(ds, list(itertools.compress(fragments, read)), column, wanted))
    return [next(found) if one else np.empty(0, np.intp) for one in read]


def where_keys(ds: Any, fragments: list[Any], wanted: Int64) -> list[Positions]:
    """The same as `where` for keys, which ascend: the few are looked for among the many."""

    def in_batch(keys: Int64) -> Positions:
        at = np.searchsorted(keys[:-1], wanted)
        right: Positions = at[keys[at] == wanted]
        return right

    return _stream(ds, fragments, "key", in_batch)


def split_counts(ds: Any, fragments: list[Any]) -> list[list[int]]:
    """For each fragment how many rows of each split it has."""
    known = exact(ds, fragments)
    unknown = [each for each, facts in zip(fragments, known, strict=True) if facts is None]
    counted = iter(_count_splits(ds, unknown))
    return [next(counted) if facts is None else list(facts.splits) for facts in known]


def key_ends(ds: Any, fragments: list[Any], at: Int64) -> list[tuple[int, int]]:
    """The first and the last key of each fragment; at: int64[F, 2], where these rows are."""
    known = exact(ds, fragments)
    rows = at[[facts is None for facts in known]].reshape(-1).tolist()
    keys = ds.take(rows, columns=["key"]).column("key").to_pylist() if rows else []
    found = iter(zip(keys[::2], keys[1::2], strict=True))
    return [next(found) if facts is None else (facts.first, facts.last) for facts in known]


def where_split(ds: Any, fragments: list[Any], code: int) -> list[Positions]:
    """For each fragment where in it the rows of a split are."""
    return _stream(ds, fragments, "split", lambda codes: np.flatnonzero(codes == code))


def _scan(ds: Any, fragments: list[Any], column: str, wanted: Int64) -> list[Positions]:
    """One pass over the column in a stream. Most rows are ruled out by their low 16 bits, with one
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


def _count_splits(ds: Any, fragments: list[Any]) -> list[list[int]]:
    if not fragments:
        return []  # Lance would read all
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
    if not fragments:
        return []  # Lance would read all
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
