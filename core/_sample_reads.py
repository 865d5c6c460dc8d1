"""Reads of one version of a Lance data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core import _sample_batch as columns
from core._fragment_notes import FragmentNotes
from core._fragment_scans import Positions, starts_of
from core._sample_batch import SPLIT_CODE, Int64, Pictures, SampleBatch, Split

SCAN_GAIN = 64  # a row costs so much less in a scan than by position (measured at 10^6 rows)
FEW = 8  # rows of a split that is a smaller part than this of all are read by position
RUN = 8  # rows side by side that a random choice among very many takes together
LOAD_ROWS = 4096  # of one scan batch: 12 MiB of CIFAR-10's pixels


def is_in(column: str, numbers: Sequence[int]) -> str:
    """A filter; of integers only, so that there is nothing to escape."""
    return f"{column} IN ({', '.join(map(str, numbers))})" if numbers else "false"


def of_split(split: Split | None) -> str | None:
    """A filter on a split; None means all rows, to Lance too."""
    return None if split is None else f"split = {SPLIT_CODE[split]}"


def class_counts(ds: Any, where: str | None) -> dict[int, int]:
    """Rows by label, in the order of the labels."""
    found: Counter[int] = Counter()
    for batch in ds.scanner(columns=["label"], filter=where).to_batches():
        labels, counts = np.unique(batch.column("label").to_numpy(), return_counts=True)
        found.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
    return dict(sorted(found.items()))


def find_sample_ids(ds: Any, wanted: pa.Array) -> dict[str, int]:
    """Key by name, of the wanted names that are there."""
    found: dict[str, int] = {}
    for batch in ds.scanner(columns=["sample_id", "key"]).to_batches():
        hits = batch.filter(pc.is_in(batch.column("sample_id"), value_set=wanted))
        found.update(zip(*(column.to_pylist() for column in hits.columns), strict=True))
    return found


def copies(ds: Any, keys: Int64, notes: FragmentNotes) -> Int64:
    """Keys, ascending, of the other rows with the very pixels of a row with one of these keys.

    Found by fingerprint, then compared: another's sample is not erased for a collision. Of a row
    it reads eight bytes and keeps none, but of those that are alike.
    """
    mine = notes.with_keys(ds, np.sort(keys))
    light = ds.take(mine.tolist(), columns=["fingerprint"])
    prints = np.unique(light.column("fingerprint").to_numpy())
    others = np.setdiff1d(notes.where(ds, "fingerprint", prints), mine)
    if not len(others):
        return np.empty(0, np.int64)
    alike = rows_at(ds, others)
    theirs = ds.take(others.tolist(), columns=["fingerprint"]).column("fingerprint").to_numpy()
    originals = rows_at(ds, mine[np.isin(light.column("fingerprint").to_numpy(), theirs)])
    pixels = {image.tobytes() for image in originals.images}
    same = [image.tobytes() in pixels for image in alike.images]
    return np.sort(alike.keys[np.array(same, np.bool_)])


def of_subjects(
    ds: Any, subjects: Int64, notes: FragmentNotes, names: Sequence[str] = columns.LIGHT
) -> pa.Table:
    """The light columns of these subjects' rows, in stored order, or some of them; "key" is one.
    The subjects ascend."""
    where = notes.where(ds, "subject", subjects)
    found = ds.take(where.tolist(), columns=list(names))
    notes.known_keys(ds, found.column("key").to_numpy(), where)  # most often asked for next
    return found


def take(ds: Any, keys: Int64, notes: FragmentNotes) -> SampleBatch | None:
    """The samples with these keys, which ascend; None when some are missing."""
    where = notes.with_keys(ds, keys)
    if len(where) < len(keys):
        return None
    batch = rows_at(ds, where)
    return columns.pick(batch, np.argsort(batch.keys, kind="stable"))


def of_class(ds: Any, label: int, n: int, after: int, notes: FragmentNotes) -> SampleBatch:
    """The next `n` samples of a class with keys above `after`, canaries left out."""
    where = f"label = {int(label)} AND key > {int(after)} AND subject >= 0"
    keys = ds.to_table(columns=["key"], filter=where, limit=n).column("key").to_numpy()
    batch = take(ds, np.sort(keys).astype(np.int64), notes)
    assert batch is not None, "a version does not change while it is read"
    return batch


@dataclass(frozen=True)
class Eligible:
    """The rows that may be drawn: of a split, with keys below `below` and not among `banned`."""

    code: int
    banned: Int64
    below: int
    notes: FragmentNotes

    def of(self, light: pa.Table) -> npt.NDArray[np.bool_]:
        """Which of these rows may be."""
        keep: npt.NDArray[np.bool_] = light.column("split").to_numpy() == self.code
        keys = light.column("key").to_numpy()[keep]
        keep[keep] = (keys < self.below) & ~np.isin(keys, self.banned)
        return keep

    def among(self, ds: Any, at: Positions) -> Positions:
        """Which of these positions (ascending) may be.

        Most fragments hold rows of one split: there only the few that are banned are looked for,
        by their keys, and only of the others is anything read.
        """
        start, whole = self.notes.whole(ds, self.code, self.below)
        sure = whole[np.searchsorted(start, at, "right") - 1]
        keep = sure & ~np.isin(at, self.notes.with_keys(ds, self.banned))
        if not sure.all():
            keep[~sure] = self.of(ds.take(at[~sure].tolist(), columns=["key", "split"]))
        return at[keep]


def take_random(ds: Any, n: int, seed: int, wanted: Eligible) -> Pictures | int:
    """`n` random samples, in random order; how many there are when they are too few.

    Draws positions and looks at those rows only, so that the cost hangs on `n`. Where the
    split is rare or the data set small, scanning its light columns is faster. Of very many rows it
    takes runs of `RUN` that lie side by side, each as likely as any: half the time of lone ones.
    """
    total, draws = ds.count_rows(), n + n // 4 + 64  # nine tenths of most data sets are trained on
    rng = np.random.default_rng(seed)
    while draws * SCAN_GAIN <= total:
        runs = rng.choice(-(-total // RUN), -(-draws // RUN), replace=False)
        drawn = (runs[:, None] * RUN + np.arange(RUN)).reshape(-1)
        kept = wanted.among(ds, np.sort(drawn[drawn < total]))
        if len(kept) >= n:
            return pictures_at(ds, rng.permutation(_some_runs(kept, n, rng)))
        draws *= 4
    scanner = ds.scanner(columns=["key", "split"], scan_in_order=True)
    pieces = [wanted.of(pa.table(each)) for each in scanner.to_batches()]
    there = np.flatnonzero(np.concatenate([np.empty(0, np.bool_), *pieces]))
    if len(there) < n:
        return len(there)
    if len(there) < n * RUN:
        return pictures_at(ds, rng.choice(there, n, replace=False))
    return pictures_at(ds, rng.permutation(_some_runs(there, n, rng)))


def _some_runs(where: Positions, n: int, rng: np.random.Generator) -> Positions:
    """`n` of these positions, in runs of `RUN` neighbours among them, the last one cut."""
    runs = rng.permutation(-(-len(where) // RUN))[: -(-n // RUN) + 1]
    at = (runs[:, None] * RUN + np.arange(RUN)).reshape(-1)
    found: Positions = where[at[at < len(where)][:n]]
    return found


def some(ds: Any, split: Split, most: int, seed: int, notes: FragmentNotes) -> Positions | None:
    """Positions of `most` rows of a split; None when there are not more.

    Which they are hangs on their keys alone, so that the others stay when one is deleted.
    """
    fragments, _, size = notes.with_split(ds, SPLIT_CODE[split])
    if size <= most:
        return None
    scanner = ds.scanner(columns=["key"], filter=of_split(split), fragments=fragments)
    keys = scanner.to_table().column("key").to_numpy()
    order = np.argsort(_mixed(keys, seed), kind="stable")
    return notes.with_keys(ds, np.sort(keys[order[:most]]))


def _mixed(keys: Int64, seed: int) -> npt.NDArray[np.uint64]:
    """The keys, well stirred (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def load(ds: Any, split: Split, banned: Int64, notes: FragmentNotes) -> SampleBatch:
    """Every sample of the split, but for the banned keys, in stored order."""
    code = SPLIT_CODE[split]
    size = notes.split_size(ds, code)
    if size * FEW < ds.count_rows():
        batch = rows_at(ds, notes.of_split(ds, code))
        return columns.pick(batch, np.flatnonzero(~np.isin(batch.keys, banned)))
    shape = columns.shape_of(ds.schema)
    room = columns.empty(shape, size)
    for piece in ds.scanner(filter=of_split(split), batch_size=LOAD_ROWS).to_batches():
        part = columns.from_arrow(pa.table(piece), shape)
        columns.put(room, part, ~np.isin(part.keys, banned))
    return columns.filled(room)


def addresses(ds: Any, where: Positions) -> list[int]:
    """Lance's addresses of the rows at these positions, which ascend: the number of the fragment,
    and the row's place in its files. Only fragments with deleted rows have to be asked."""
    fragments = ds.get_fragments()
    starts = starts_of(fragments)
    at = np.searchsorted(starts, where, "right") - 1
    numbers = np.array([each.fragment_id for each in fragments], np.int64)
    found = (numbers[at] << 32) + where - starts[at]
    lost = np.array([each.num_deletions > 0 for each in fragments], np.bool_)[at]
    if lost.any():
        asked = ds.take(where[lost].tolist(), columns=["_rowaddr"])
        found[lost] = asked.column("_rowaddr").to_numpy()
    addresses: list[int] = found.tolist()
    return addresses


def keys_in(ds: Any, least: int, most: int, notes: FragmentNotes) -> Int64:
    """Every key from `least` to `most`, ascending; fragments that have none are not read."""
    ranges = notes.key_ranges(ds)
    hit = (ranges.first <= most) & (ranges.last >= least)
    read = [each for each, one in zip(ranges.fragments, hit, strict=True) if one]
    if not read:
        return np.empty(0, np.int64)
    where = f"key >= {least} AND key <= {most}"
    table = ds.scanner(columns=["key"], fragments=read, filter=where).to_table()
    return np.sort(table.column("key").to_numpy())


def rows_at(ds: Any, where: Positions) -> SampleBatch:
    """The rows at these positions, in that order; read in stored order."""
    table, at = _read_in_order(ds, where, None)
    return columns.pick(columns.from_arrow(table, columns.shape_of(ds.schema)), at)


def pictures_at(ds: Any, where: Positions) -> Pictures:
    """The same, but only what a model learns of them."""
    table, at = _read_in_order(ds, where, columns.SEEN)
    seen = columns.pictures_from_arrow(table, columns.shape_of(ds.schema))
    return Pictures(seen.labels[at], seen.images[at])


def _read_in_order(
    ds: Any, where: Positions, names: list[str] | None
) -> tuple[pa.Table, Positions]:
    """Rows read in stored order, and where in the table each that was asked for is."""
    order = np.argsort(where, kind="stable")
    return ds.take(where[order].tolist(), columns=names), np.argsort(order, kind="stable")
