"""Reads of one version of a Lance data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core import _sample_batch as columns
from core._sample_batch import SPLIT_CODE, Int64, SampleBatch, Split

Positions = npt.NDArray[np.intp]

SCAN_GAIN = 64  # a row costs so much less in a scan than by position (measured at 10^6 rows)
LOAD_ROWS = 4096  # of one scan batch: 12 MiB of CIFAR-10's pixels


def is_in(column: str, numbers: Sequence[int]) -> str:
    """A filter; of integers only, so that there is nothing to escape."""
    return f"{column} IN ({', '.join(map(str, numbers))})" if numbers else "false"


def of_split(split: Split | None) -> str | None:
    """A filter on a split; None means all rows, to Lance too."""
    return None if split is None else f"split = {SPLIT_CODE[split]}"


def find_sample_ids(ds: Any, wanted: pa.Array) -> dict[str, int]:
    """Key by name, of the wanted names that are there."""
    found: dict[str, int] = {}
    for batch in ds.scanner(columns=["sample_id", "key"]).to_batches():
        hits = batch.filter(pc.is_in(batch.column("sample_id"), value_set=wanted))
        found.update(zip(*(column.to_pylist() for column in hits.columns), strict=True))
    return found


def copies(ds: Any, keys: Int64) -> Int64:
    """Keys, ascending, of the other rows with the very pixels of a row with one of these keys.

    Found by fingerprint, then compared: another's sample is not erased for a collision.
    """
    light = ds.to_table(columns=["key", "fingerprint"])
    there, prints = (light.column(name).to_numpy() for name in ("key", "fingerprint"))
    named = np.isin(there, keys)
    others = ~named & np.isin(prints, prints[named])
    if not others.any():
        return np.empty(0, np.int64)
    originals = rows_at(ds, np.flatnonzero(named & np.isin(prints, prints[others])))
    pixels = {image.tobytes() for image in originals.images}
    found = rows_at(ds, np.flatnonzero(others))
    same = [image.tobytes() in pixels for image in found.images]
    return np.sort(found.keys[np.array(same, np.bool_)])


def take(ds: Any, keys: Int64) -> SampleBatch | None:
    """The samples with these keys, which ascend; None when some are missing."""
    where = positions(ds, keys)
    if len(where) < len(keys):
        return None
    batch = rows_at(ds, where)
    return columns.pick(batch, np.argsort(batch.keys, kind="stable"))


def of_class(ds: Any, label: int, n: int, after: int) -> SampleBatch:
    """The next `n` samples of a class with keys above `after`, canaries left out."""
    where = f"label = {int(label)} AND key > {int(after)} AND subject >= 0"
    keys = ds.to_table(columns=["key"], filter=where, limit=n).column("key").to_numpy()
    batch = take(ds, np.sort(keys).astype(np.int64))
    assert batch is not None, "a version does not change while it is read"
    return batch


def take_random(ds: Any, code: int, n: int, seed: int, banned: Int64) -> SampleBatch | int:
    """`n` random samples of a split, in random order; their number when they are too few.

    Draws positions and looks at those rows only, so that the cost hangs on `n`. Where the
    split is rare or the data set small, scanning its light columns is faster.
    """
    total, draws = ds.count_rows(), 2 * n + 64
    while draws * SCAN_GAIN <= total:
        drawn = np.random.default_rng(seed).integers(total, size=draws)
        _, first = np.unique(drawn, return_index=True)
        where = drawn[np.sort(first)]
        order = np.argsort(where)
        light = ds.take(where[order].tolist(), columns=["key", "split"])
        keep = np.empty(len(where), np.bool_)
        keep[order] = _eligible(light, code, banned)
        if np.count_nonzero(keep) >= n:
            return rows_at(ds, where[keep][:n])
        draws *= 4
    eligible = _eligible(ds.to_table(columns=["key", "split"]), code, banned)
    where = np.flatnonzero(eligible)
    if len(where) < n:
        return len(where)
    return rows_at(ds, np.random.default_rng(seed).choice(where, n, replace=False))


def _eligible(light: pa.Table, code: int, banned: Int64) -> npt.NDArray[np.bool_]:
    """Which rows are of the split and not banned."""
    keep: npt.NDArray[np.bool_] = light.column("split").to_numpy() == code
    keep[keep] = ~np.isin(light.column("key").to_numpy()[keep], banned)
    return keep


def load(ds: Any, where: str | None, banned: Int64) -> SampleBatch:
    """Every sample that the filter leaves, but for the banned keys, in stored order."""
    shape = columns.shape_of(ds.schema)
    room = columns.empty(shape, ds.count_rows(where))
    for piece in ds.scanner(filter=where, batch_size=LOAD_ROWS).to_batches():
        part = columns.from_arrow(pa.table(piece), shape)
        columns.put(room, part, ~np.isin(part.keys, banned))
    return columns.filled(room)


def positions(ds: Any, wanted: Int64) -> Positions:
    """Where the rows with these keys (ascending) are, counted without the deleted rows.

    Keys ascend within a fragment: an append demands it and a rewrite keeps the order.
    """
    pieces, start = [np.empty(0, np.intp)], 0
    for batch in ds.scanner(columns=["key"], scan_in_order=True).to_batches():
        keys = batch.column("key").to_numpy()
        at = np.searchsorted(keys[:-1], wanted)
        pieces.append(start + at[keys[at] == wanted])
        start += len(keys)
    return np.concatenate(pieces)


def rows_at(ds: Any, where: Positions) -> SampleBatch:
    """The rows at these positions, in that order; read in stored order."""
    order = np.argsort(where, kind="stable")
    table = ds.take(where[order].tolist())
    batch = columns.from_arrow(table, columns.shape_of(ds.schema))
    return columns.pick(batch, np.argsort(order, kind="stable"))
