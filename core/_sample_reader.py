"""The reading half of the sample store: light columns, and samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from core import _sample_batch as columns
from core import _sample_reads as reads
from core._fragment_notes import FragmentNotes
from core._lance import LanceStore, SamplesMissing, TooFewSamples
from core._sample_batch import LIGHT, SPLIT_CODE, Found, Int64, Pictures, SampleBatch, Split, pick

LAST_KEY = 2**63 - 1


class SampleReader(LanceStore):
    """Every call reads one version of the data set: see core.samples."""

    @cached_property
    def _notes(self) -> FragmentNotes:
        return FragmentNotes()

    # Reading: light columns

    def count(self, dataset: str, split: Split | None = None) -> int:
        """How many samples it holds, in all or in one split."""
        where = reads.of_split(split)
        return self._retry(dataset, lambda ds: int(ds.count_rows(where)))

    def class_counts(self, dataset: str, split: Split | None = None) -> dict[int, int]:
        """Samples by label, in the order of the labels."""
        where = reads.of_split(split)
        return self._retry(dataset, lambda ds: reads.class_counts(ds, where))

    def keys(self, dataset: str, split: Split | None = None) -> Int64:
        """int64[N]: every key, in stored order."""
        where = reads.of_split(split)
        table = self._retry(dataset, lambda ds: ds.to_table(columns=["key"], filter=where))
        return np.asarray(table.column("key").to_numpy(), np.int64)

    def find_subject(self, dataset: str, subjects: Iterable[int]) -> Found:
        """The samples of these subjects, in stored order; none is no error."""
        table = self._of_subjects(dataset, subjects, LIGHT)
        return Found(*(table.column(name).to_numpy() for name in LIGHT))

    def keys_of_subjects(self, dataset: str, subjects: Iterable[int]) -> Int64:
        """The keys of their samples, in stored order: where people lie far apart, in a third of
        the time."""
        found = self._of_subjects(dataset, subjects, ["key"])
        return np.asarray(found.column("key").to_numpy(), np.int64)

    def _of_subjects(self, dataset: str, subjects: Iterable[int], names: Sequence[str]) -> pa.Table:
        wanted = np.unique(np.fromiter((int(subject) for subject in subjects), np.int64))
        return self._retry(dataset, lambda ds: reads.of_subjects(ds, wanted, self._notes, names))

    def subjects_of(self, dataset: str, keys: Iterable[int]) -> dict[int, int]:
        """The number of each sample's subject, by key; keys that are not there are left out."""
        where, names = reads.is_in("key", sorted({int(key) for key in keys})), ["key", "subject"]
        table = self._retry(dataset, lambda ds: ds.to_table(columns=names, filter=where))
        return dict(zip(*(table.column(name).to_pylist() for name in names), strict=True))

    def find_sample_ids(self, dataset: str, sample_ids: Iterable[str]) -> dict[str, int]:
        """Key of each of these sample ids; those that are not there are left out.

        Compared in Arrow, never through a filter's text: an id may hold any character.
        """
        wanted = pa.array(sorted(set(sample_ids)), pa.string())
        return self._retry(dataset, lambda ds: reads.find_sample_ids(ds, wanted))

    def copies(self, dataset: str, keys: Iterable[int] | Int64) -> Int64:
        """Keys, ascending, of the other samples whose pixels are exactly those of these.

        Whatever their label, split or subject. Keys that are not there are passed over.
        """
        wanted = np.fromiter(keys, np.int64)
        return self._retry(dataset, lambda ds: reads.copies(ds, wanted, self._notes))

    def there(self, dataset: str, keys: Iterable[int] | Int64) -> Int64:
        """Those of these keys that are in the data set, ascending. Reads only the fragments
        that may hold one."""
        wanted = np.unique(np.fromiter(keys, np.int64))

        def find(ds: Any) -> Int64:
            where = self._notes.with_keys(ds, wanted)
            if len(where) == len(wanted):
                return wanted
            found = ds.take(where.tolist(), columns=["key"]).column("key").to_numpy()
            return np.sort(np.asarray(found, np.int64))

        return self._retry(dataset, find)

    def keys_from(self, dataset: str, least: int) -> Int64:
        """Every key that is not below `least`, ascending."""
        return self._retry(dataset, lambda ds: reads.keys_in(ds, least, LAST_KEY, self._notes))

    def more_than(self, dataset: str, n: int, split: Split) -> bool:
        """Are there more than `n` samples of the split?"""
        code = SPLIT_CODE[split]
        return self._retry(dataset, lambda ds: self._notes.split_size(ds, code)) > n

    # Reading: samples

    def take(self, dataset: str, keys: Sequence[int] | Int64) -> SampleBatch:
        """The samples with these keys, in the order asked for, repetitions included.

        Raises: SamplesMissing, which lists the keys that are not there.
        """
        asked = np.asarray(keys, np.int64).reshape(-1)
        unique, inverse = np.unique(asked, return_inverse=True)

        batch = self._retry(dataset, lambda ds: reads.take(ds, unique, self._notes))
        if batch is None:
            missing = np.setdiff1d(unique, self.there(dataset, unique)).tolist()
            raise SamplesMissing(
                f"{len(missing)} samples are not in data set {dataset!r} (keys "
                f"{', '.join(map(str, missing[:5]))}, ...): leave them out, they may be erased",
                missing,
            )
        return columns.pick(batch, inverse)

    def take_random(
        self,
        dataset: str,
        split: Split,
        n: int,
        *,
        seed: int,
        exclude: Iterable[int] = (),
        below: int | None = None,
    ) -> Pictures:
        """`n` random samples of the split, none twice, none of the keys in `exclude` and none
        from `below` on.

        The same content and seed give the same samples in the same order.

        Raises: TooFewSamples.
        """
        banned = np.array(sorted({int(key) for key in exclude}), np.int64)

        wanted = reads.Eligible(
            SPLIT_CODE[split], banned, LAST_KEY if below is None else below, self._notes
        )
        batch = self._retry(dataset, lambda ds: reads.take_random(ds, n, seed, wanted))
        if isinstance(batch, int):
            raise TooFewSamples(
                f"Data set {dataset!r} has {batch} samples of split {split!r} to choose from, "
                f"not {n}: ask for fewer"
            )
        return batch

    def of_class(self, dataset: str, label: int, n: int, *, after: int = -1) -> SampleBatch:
        """The next `n` samples of a class with keys above `after`, whatever their split."""
        return self._retry(dataset, lambda ds: reads.of_class(ds, label, n, after, self._notes))

    def load(
        self,
        dataset: str,
        split: Split,
        *,
        exclude: Iterable[int] = (),
        most: int | None = None,
        seed: int = 0,
    ) -> SampleBatch:
        """Every sample of the split, in stored order, but for the keys in `exclude`.

        Holds the split in memory once: N * C * H * W bytes, and one scan batch. most: of a larger
        split so many samples, the same ones each time for a seed but for those deleted since.
        """
        banned = np.array(sorted({int(key) for key in exclude}), np.int64)

        def read(ds: Any) -> SampleBatch:
            chosen = None if most is None else reads.some(ds, split, most, seed, self._notes)
            if chosen is None:
                return reads.load(ds, split, banned, self._notes)
            batch = reads.rows_at(ds, chosen)
            return pick(batch, np.flatnonzero(~np.isin(batch.keys, banned)))

        return self._retry(dataset, read)
