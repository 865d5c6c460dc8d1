"""The training samples, in Lance: random rows are cheap, deletion destroys the bytes.

One Lance data set per Lethe data set, `<url>/<name>.lance`, a row a sample. Pixels and
sample ids are stored uncompressed, so that an auditor can search the files for the bytes of
an erased sample, and a search that finds nothing means something. (Compression bit-packs
dark pixels and cuts names into symbols; it would save a few per cent on small images.)

There is no index: each is one more copy that must be destroyed, and Lance writes all of it anew
with every compaction, which then costs what the whole data set does. A key is found by the first
and last key of each fragment, subjects by the least and the greatest: what is said of a fragment
in the manifest (core/_fragment_facts.py). In fragments that may hold a subject, and for copies in
all, one column of eight bytes a row is scanned, in a stream (docs/scale.md). What was found in a
fragment is noted while it stays as it is (core/_fragment_notes.py).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core import _sample_batch as columns
from core import _sample_reads as reads
from core._fragment_facts import Facts, by_file, facts_in, missing, say
from core._fragment_notes import FragmentNotes
from core._lance import (
    FORMAT,
    LANCE_ERRORS,
    DatasetExists,
    DatasetMissing,
    ForkedProcessError,
    SamplesInvalid,
    SamplesMissing,
    SampleStoreUnreadable,
    TooFewSamples,
    load_lance,
)
from core._sample_batch import (
    SPLIT_CODE,
    SPLITS,
    Found,
    Int64,
    Pictures,
    SampleBatch,
    Split,
    pick,
)
from core._sample_purge import Purge, remove_versions, rewrite_fragments
from core._sample_reader import SampleReader
from core._writer_locks import Check, DatasetBusy
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
    "Pictures",
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

log = logging.getLogger(__name__)

DELETE_KEYS = 30_000  # one commit; its predicate stays under a megabyte
DROP_WAIT_SECONDS = 10.0


class SampleStore(SampleReader):
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

        Memory holds one fragment (see `fragment_rows`). Keys must ascend through the append and
        be new; sample ids should be new too, which is the caller's to see to. `progress` is told
        the number of samples written so far.

        Raises: SamplesInvalid; and what `batches` raises. Then nothing was added.
        """
        schema, rows = self._open(dataset).schema, 0
        try:
            with self._writing(dataset) as check:
                fragments: list[Any] = []
                facts: list[Facts] = []
                checked = columns.checked(batches, schema, partial(self._keys_in, dataset))
                for table in columns.by_fragment(checked, schema):
                    fragments += self._write(dataset, table)
                    facts.append(facts_in(table))
                    rows += table.num_rows
                    if progress is not None:
                        progress(rows)
                if fragments:
                    # First: a purge takes out what is said of files that come into no version,
                    # and once the rows are there, the append must not fail.
                    said = by_file(fragments, facts)
                    self._retry(dataset, lambda ds: say(ds, said, check))
                    self._commit_append(dataset, fragments, check)
        except BaseException:
            self._clean(dataset, wait_seconds=0)  # what was written belongs to no version
            raise
        return rows

    def _keys_in(self, dataset: str, least: int, most: int) -> Int64:
        return self._retry(dataset, lambda ds: reads.keys_in(ds, least, most, self._notes))

    def delete(self, dataset: str, keys: Iterable[int]) -> int:
        """Delete samples by key; keys that are not there are passed over. Returns how many.

        They are out of every later read; `purge` destroys their bytes. By address and key only:
        the predicate stays in a transaction file, and neither means anything.
        """
        wanted = np.unique(np.fromiter((int(key) for key in keys), np.int64))
        deleted = 0
        with self._writing(dataset) as check:
            for start in range(0, len(wanted), DELETE_KEYS):
                some = wanted[start : start + DELETE_KEYS]
                delete = partial(_delete, keys=some, notes=self._notes, check=check)
                deleted += self._retry(dataset, delete)
        return deleted

    def purge(self, dataset: str, *, wait_seconds: float = 2.0, exclusive: bool = False) -> Purge:
        """Destroy the bytes of deleted samples. Idempotent; safe beside readers and writers.

        Rewrites the fragments that hold deleted rows, one by one, and no other, says in the
        manifest what they hold now (and what those hold that an older release wrote, which are read
        for it, once), then removes every old version. Afterwards no file of the data set holds a
        pixel or a name of a sample deleted before the call.

        Files that belong to no version are removed as well when no writer is alive within
        `wait_seconds`, or when the caller knows so and says `exclusive`. Where neither is so, the
        report says `complete=False`. A bucket's old versions of what was removed go too; raises
        `VersionsKept` when they cannot.
        """
        rewritten: set[int] = set()
        with self._writing(dataset) as check:
            self._retry(dataset, lambda ds: rewrite_fragments(ds, rewritten, self._notes, check))
            reached("purge:after-compaction")
            try:
                self._retry(dataset, lambda ds: say(ds, missing(ds), check))
            except (DatasetBusy, SampleStoreUnreadable) as err:
                # It saves later jobs some reading; nothing that is to be destroyed waits for it.
                log.warning("what the fragments of %s hold was not written down: %s", dataset, err)
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


def _delete(ds: Any, keys: Int64, notes: FragmentNotes, check: Check) -> int:
    """Delete the rows with these keys. By address, so that no column of all rows is read for it,
    and by key, so that no other row can go. Rows that another process moves before Lance commits
    are not found: then all are looked for by key."""
    where = notes.with_keys(ds, keys)
    if not len(where):
        return 0
    before, by_key = ds.get_fragments(), reads.is_in("key", keys.tolist())
    addresses = reads.addresses(ds, where)
    found = _deleted(ds, f"{reads.is_in('_rowaddr', addresses)} AND {by_key}", check)
    if found < len(where):
        return found + _deleted(ds, by_key, check)
    notes.deleted(before, ds.get_fragments(), where)
    return found


def _deleted(ds: Any, predicate: str, check: Check) -> int:
    check()
    return int(ds.delete(predicate)["num_deleted_rows"])
