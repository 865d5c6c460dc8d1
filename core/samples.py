"""The training samples, in Lance: random rows are cheap, deletion destroys the bytes.

One Lance data set per Lethe data set, `<url>/<name>.lance`, a row a sample. Pixels and
sample ids are stored uncompressed, so that an auditor can search the files for the bytes of
an erased sample, and a search that finds nothing means something. (Compression bit-packs
dark pixels and cuts names into symbols; it would save a few per cent on small images.)

There is no index: at 10^6 rows a B-tree saves a millisecond on a thousand keys, and each
index is one more copy that must be destroyed. Scans read light columns only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import _sample_batch as columns
from core import _sample_reads as reads
from core._lance import (
    FORMAT,
    LANCE_ERRORS,
    DatasetExists,
    DatasetMissing,
    ForkedProcessError,
    LanceStore,
    SamplesInvalid,
    SamplesMissing,
    SampleStoreUnreadable,
    TooFewSamples,
    load_lance,
)
from core._sample_batch import LIGHT, SPLIT_CODE, SPLITS, Found, Int64, SampleBatch, Split, pick
from core._sample_purge import Purge, remove_versions, rewrite_fragments
from core._writer_locks import DatasetBusy
from core.object_store import Destroyed
from core.points import reached

__all__ = [
    "SPLITS",
    "SPLIT_CODE",
    "DatasetBusy",
    "DatasetExists",
    "DatasetMissing",
    "ForkedProcessError",
    "Found",
    "Purge",
    "SampleBatch",
    "SampleStore",
    "SampleStoreUnreadable",
    "SamplesInvalid",
    "SamplesMissing",
    "Split",
    "TooFewSamples",
    "pick",
]

DELETE_KEYS = 100_000  # one commit; its predicate stays under a megabyte
DROP_WAIT_SECONDS = 10.0


class SampleStore(LanceStore):
    """Training samples under one path or object-store URL; threads may share it.

    Every call works on one version of the data set. A reader whose version a purge took
    away opens the newest one and starts over. Any call that names a data set raises
    DatasetMissing when there is none, and SampleStoreUnreadable when its files are damaged.

    SampleStore(url, bucket, lock): see LanceStore. Nothing is opened before the first call.
    """

    def create(self, dataset: str, shape: Sequence[int]) -> None:
        """Make an empty data set of images of `shape` (C, H, W).

        Raises: DatasetExists; SamplesInvalid for a name or shape that cannot be used.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise SamplesInvalid(f"An image's shape is (C, H, W), each at least 1, not {shape}")
        uri = self._uri(dataset)
        try:
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
            load_lance().write_dataset(
                columns.schema_of((shape[0], shape[1], shape[2])).empty_table(),
                uri,
                mode="create",
                data_storage_version=FORMAT,
                storage_options=self._options,
            )
        except LANCE_ERRORS as err:
            if "already exists" in str(err):
                raise DatasetExists(
                    f"Data set {dataset!r} exists: append to it, or choose another name"
                ) from err
            raise self._unreadable(dataset, err) from err

    def exists(self, dataset: str) -> bool:
        """Whether there is such a data set."""
        try:
            self._open(dataset)
        except DatasetMissing:
            return False
        return True

    def shape(self, dataset: str) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        return columns.shape_of(self._open(dataset).schema)

    def drop(self, dataset: str) -> None:
        """Remove a data set with every file of it. Idempotent.

        Raises: DatasetBusy when another process keeps writing to it.
        """
        uri = self._uri(dataset)
        if self._root is not None and not Path(uri).exists():
            return
        with self._lock(dataset).exclusive(DROP_WAIT_SECONDS) as alone:
            if self._bucket is None and self._root is None:
                alone = True  # nobody can know
            if not alone:
                raise DatasetBusy(f"Data set {dataset!r} is being written to: drop it later")
            if self._root is not None:
                shutil.rmtree(uri)
                return
            try:
                load_lance().LanceDataset.drop(uri, self._options, ignore_not_found=True)
            except LANCE_ERRORS as err:
                raise self._unreadable(dataset, err) from err
            self._destroy_unseen(uri, alone)

    # Writing

    def append(
        self,
        dataset: str,
        batches: Iterable[SampleBatch],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Stream samples in; all of them appear at once, or none. Returns how many.

        Memory holds one fragment (see `fragment_rows`) and 8 bytes for each row that is
        there already. Keys must ascend through the append and be new; sample ids should be
        new too, which is the caller's to see to. `progress` is told the number of samples
        written so far.

        Raises: SamplesInvalid; and what `batches` raises. Then nothing was added.
        """
        schema, rows = self._open(dataset).schema, 0
        try:
            with self._writing(dataset) as check:
                taken = np.sort(self.keys(dataset))
                fragments: list[Any] = []
                for table in columns.by_fragment(columns.checked(batches, schema, taken), schema):
                    fragments += self._write(dataset, table)
                    rows += table.num_rows
                    if progress is not None:
                        progress(rows)
                if fragments:
                    self._commit_append(dataset, fragments, check)
        except BaseException:
            self._clean(dataset, wait_seconds=0)  # what was written belongs to no version
            raise
        return rows

    def delete(self, dataset: str, keys: Iterable[int]) -> int:
        """Delete samples by key; keys that are not there are passed over. Returns how many.

        They are out of every later read; `purge` destroys their bytes. By key only: the
        predicate stays in a transaction file, and a key means nothing.
        """
        wanted = sorted({int(key) for key in keys})
        deleted = 0
        with self._writing(dataset) as check:
            for start in range(0, len(wanted), DELETE_KEYS):
                check()
                predicate = reads.is_in("key", wanted[start : start + DELETE_KEYS])
                deleted += self._retry(dataset, partial(_delete, predicate=predicate))
        return deleted

    def purge(self, dataset: str, *, wait_seconds: float = 2.0, exclusive: bool = False) -> Purge:
        """Destroy the bytes of deleted samples. Idempotent; safe beside readers and writers.

        Rewrites the fragments that hold deleted rows, one by one, and no other, then removes
        every old version. Afterwards no file of the data set holds a pixel or a name of a
        sample deleted before the call.

        Files that belong to no version are removed as well when no writer is alive within
        `wait_seconds`, or when the caller knows so and says `exclusive`. Where neither is so, the
        report says `complete=False`. A bucket's old versions of what was removed go too; raises
        `VersionsKept` when they cannot.
        """
        rewritten: set[int] = set()
        with self._writing(dataset) as check:
            self._retry(dataset, lambda ds: rewrite_fragments(ds, rewritten, check))
        reached("purge:after-compaction")
        purge = self._clean(dataset, wait_seconds, exclusive, len(rewritten))
        reached("purge:after-cleanup")
        return purge

    def _clean(
        self, dataset: str, wait_seconds: float, exclusive: bool = False, rewritten: int = 0
    ) -> Purge:
        with self._lock(dataset).exclusive(wait_seconds) as alone:
            alone = alone or exclusive
            purge = self._retry(dataset, lambda ds: remove_versions(ds, rewritten, alone))
            gone = self._destroy_unseen(self._uri(dataset), alone)
            return replace(purge, files=purge.files + gone.files, bytes=purge.bytes + gone.bytes)

    def _destroy_unseen(self, uri: str, alone: bool) -> Destroyed:
        """Destroy what a bucket keeps of objects that are gone and, when `alone`, of uploads."""
        if self._bucket is None:
            return Destroyed()
        if alone:
            self._bucket.end_uploads(uri)
        return self._bucket.destroy_old_versions(uri)

    # Reading: light columns

    def count(self, dataset: str, split: Split | None = None) -> int:
        """How many samples it holds, in all or in one split."""
        where = reads.of_split(split)
        return self._retry(dataset, lambda ds: int(ds.count_rows(where)))

    def class_counts(self, dataset: str, split: Split | None = None) -> dict[int, int]:
        """Samples by label, in the order of the labels."""
        where = reads.of_split(split)
        table = self._retry(dataset, lambda ds: ds.to_table(columns=["label"], filter=where))
        labels, counts = np.unique(table.column("label").to_numpy(), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def keys(self, dataset: str, split: Split | None = None) -> Int64:
        """int64[N]: every key, in stored order."""
        where = reads.of_split(split)
        table = self._retry(dataset, lambda ds: ds.to_table(columns=["key"], filter=where))
        return np.asarray(table.column("key").to_numpy(), np.int64)

    def find_subject(self, dataset: str, subjects: Iterable[int]) -> Found:
        """The samples of these subjects, in stored order; none is no error."""
        where = reads.is_in("subject", sorted({int(subject) for subject in subjects}))
        table = self._retry(dataset, lambda ds: ds.to_table(columns=LIGHT, filter=where))
        return Found(*(table.column(name).to_numpy() for name in LIGHT))

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
        return self._retry(dataset, lambda ds: reads.copies(ds, wanted))

    # Reading: samples

    def take(self, dataset: str, keys: Sequence[int] | Int64) -> SampleBatch:
        """The samples with these keys, in the order asked for, repetitions included.

        Raises: SamplesMissing, which lists the keys that are not there.
        """
        asked = np.asarray(keys, np.int64).reshape(-1)
        unique, inverse = np.unique(asked, return_inverse=True)

        batch = self._retry(dataset, lambda ds: reads.take(ds, unique))
        if batch is None:
            missing = sorted(set(unique.tolist()) - set(self.keys(dataset).tolist()))
            raise SamplesMissing(
                f"{len(missing)} samples are not in data set {dataset!r} (keys "
                f"{', '.join(map(str, missing[:5]))}, ...): leave them out, they may be erased",
                missing,
            )
        return columns.pick(batch, inverse)

    def take_random(
        self, dataset: str, split: Split, n: int, *, seed: int, exclude: Iterable[int] = ()
    ) -> SampleBatch:
        """`n` random samples of the split, none twice, none of the keys in `exclude`.

        The same content and seed give the same samples in the same order.

        Raises: TooFewSamples.
        """
        banned = np.array(sorted({int(key) for key in exclude}), np.int64)

        batch = self._retry(
            dataset, lambda ds: reads.take_random(ds, SPLIT_CODE[split], n, seed, banned)
        )
        if isinstance(batch, int):
            raise TooFewSamples(
                f"Data set {dataset!r} has {batch} samples of split {split!r} to choose from, "
                f"not {n}: ask for fewer"
            )
        return batch

    def of_class(self, dataset: str, label: int, n: int, *, after: int = -1) -> SampleBatch:
        """The next `n` samples of a class with keys above `after`, whatever their split."""
        return self._retry(dataset, lambda ds: reads.of_class(ds, label, n, after))

    def load(self, dataset: str, split: Split, *, exclude: Iterable[int] = ()) -> SampleBatch:
        """Every sample of the split, in stored order, but for the keys in `exclude`.

        Holds the split in memory once: N * C * H * W bytes, and one scan batch.
        """
        banned = np.array(sorted({int(key) for key in exclude}), np.int64)

        where = reads.of_split(split)
        return self._retry(dataset, lambda ds: reads.load(ds, where, banned))


def _delete(ds: Any, predicate: str) -> int:
    return int(ds.delete(predicate)["num_deleted_rows"])
