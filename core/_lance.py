"""What Lance needs around it: late loading, a guard for forks, locks, and clear errors.

Lance is imported on first use. Its runtime does not survive a fork (a child of a process
that had used it dies with a segmentation fault), and half a second of import is nothing
that `lethe --help` should wait for.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from core._writer_locks import Check, FileLock, Lock, NoLock
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.object_store import Bucket, explained

T = TypeVar("T")

FORMAT = "2.2"
ATTEMPTS = 20
RETRY_SECONDS = 0.05
METADATA_BYTES = 64 * 2**20  # where the pages of fragments lie: 80 kB for each of 64k rows
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# What Lance raises when a file that a version refers to is gone or unreadable. There is no
# class of its own: readers get OSError, scanners pyarrow's errors, opening a ValueError.
LANCE_ERRORS = (OSError, ValueError, RuntimeError)


class DatasetMissing(NotFound):
    """No data set of that name is in the sample store."""


class DatasetExists(Conflict):
    """A data set of that name is there already."""


class SamplesMissing(NotFound):
    """Samples that were asked for are not in the data set. `keys` lists them."""

    def __init__(self, message: str, keys: list[int]) -> None:
        super().__init__(message)
        self.keys = keys


class TooFewSamples(Conflict):
    """More samples were asked for than there are to choose from."""


class SamplesInvalid(Invalid):
    """Samples that cannot be stored: a wrong shape, type, length or key."""


class SampleStoreUnreadable(Unavailable):
    """The stored samples cannot be read or written: damaged files, or no access."""


class ForkedProcessError(Exception):
    """Lance was used before this process was forked from its parent."""


class _PurgedMeanwhile(Exception):
    """The newest version was the newest no longer once it was read."""


_first_user: int | None = None


def load_lance() -> Any:
    """Import Lance, in the one process that is going to use it.

    Raises:
        ForkedProcessError: the parent had used Lance before it forked this process.
    """
    global _first_user  # one per process, as Lance's own runtime is
    if _first_user is None:
        _first_user = os.getpid()
    elif _first_user != os.getpid():
        raise ForkedProcessError(
            "Lance was used before this process was forked and would crash here: "
            "read or write samples only after the fork, or start processes with spawn"
        )
    import lance  # see the head of this file

    return lance


class LanceStore:
    """Opens the data sets under one path or URL, and tells what went wrong."""

    def __init__(
        self,
        url: str,
        *,
        bucket: Bucket | None = None,
        lock: Callable[[str], Lock] | None = None,
    ) -> None:
        """`url`: a local path, file://..., or s3://... in `bucket`. `lock` makes the lock of a
        data set; a path has its own. Nothing is opened before the first call."""
        self._url = url.removeprefix("file://").rstrip("/")
        self._bucket = bucket
        self._root = None if "://" in self._url else Path(self._url)
        self._lock_of = lock

    @cached_property
    def _session(self) -> Any:
        """Keeps what was read of the files' ends, which never change, from one call to the next:
        a call would read them anew for each fragment, over the network where that is the store."""
        return load_lance().Session(metadata_cache_size_bytes=METADATA_BYTES)

    @property
    def _options(self) -> dict[str, str] | None:
        return self._bucket.access.for_lance if self._bucket else None

    def _uri(self, dataset: str) -> str:
        if not _NAME.fullmatch(dataset):
            raise SamplesInvalid(
                f"{dataset!r} cannot name a data set: use up to 100 letters, digits, '.', '_' "
                "and '-', a letter or digit first"
            )
        return f"{self._url}/{dataset}.lance"

    def _lock(self, dataset: str) -> Lock:
        if self._lock_of is not None:
            return self._lock_of(dataset)
        return FileLock(self._root / f"{dataset}.lock") if self._root is not None else NoLock()

    def _writing(self, dataset: str) -> AbstractContextManager[Check]:
        """Be one of the data set's writers; it must be there. Ask before each commit."""
        self._open(dataset)
        return self._lock(dataset).shared()

    def _open(self, dataset: str) -> Any:
        uri = self._uri(dataset)
        try:
            for _ in range(ATTEMPTS):
                with suppress(_PurgedMeanwhile):
                    return self._newest(uri)
            return self._opened(uri)
        except LANCE_ERRORS as err:
            # Lance says the same of a data set that has lost its manifests.
            lost = self._root is not None and Path(uri).exists()
            if "was not found" in str(err) and not lost:
                raise DatasetMissing(
                    f"There is no data set {dataset!r}: import it first "
                    f"(`lethe dataset import {dataset} --from ...`)"
                ) from err
            raise self._unreadable(dataset, err) from err

    def _opened(self, uri: str) -> Any:
        lance = load_lance()
        return lance.dataset(uri, storage_options=self._options, session=self._session)

    def _newest(self, uri: str) -> Any:
        try:
            return self._opened(uri)
        except LANCE_ERRORS as err:
            # Between the look for the newest version and its reading a purge took it away.
            if "Not found" in str(err) and ".manifest" in str(err):
                raise _PurgedMeanwhile from err
            raise

    def _retry(self, dataset: str, call: Callable[[Any], T]) -> T:
        """Call with the newest version; again while others change the data set."""
        version, failure = -1, None
        for attempt in range(ATTEMPTS):
            ds = self._open(dataset)
            if attempt > 1 and ds.version == version:
                break  # nobody did anything, and it failed twice
            version = ds.version
            try:
                return call(ds)
            except LANCE_ERRORS as err:
                failure = err
                time.sleep(random.uniform(0, RETRY_SECONDS))  # noqa: S311  # spreads rivals
        raise self._unreadable(dataset, failure) from failure

    def _unreadable(self, dataset: str, err: Exception | None) -> SampleStoreUnreadable:
        known = explained(err) if self._bucket is not None and err is not None else None
        if known is not None:
            return SampleStoreUnreadable(f"The object store of {self._uri(dataset)}: {known}")
        return SampleStoreUnreadable(
            f"Data set {dataset!r} at {self._uri(dataset)} cannot be used: check that the path "
            f"can be read and written, or restore it from where it came ({err})"
        )

    def _write(self, dataset: str, table: Any) -> list[Any]:
        """Write one fragment that belongs to no version yet."""
        try:
            written: list[Any] = load_lance().fragment.write_fragments(
                table,
                self._uri(dataset),
                mode="append",
                max_rows_per_file=table.num_rows,
                data_storage_version=FORMAT,
                storage_options=self._options,
            )
        except LANCE_ERRORS as err:
            raise self._unreadable(dataset, err) from err
        return written

    def _commit_append(self, dataset: str, fragments: list[Any], check: Check) -> None:
        """Commit on top of the newest version: the one read at the start may be purged."""
        lance = load_lance()
        names = {file.path for fragment in fragments for file in fragment.files}

        def commit(ds: Any) -> None:
            last = ds.get_fragments()[-len(fragments) :]
            if names.isdisjoint(file.path for old in last for file in old.data_files()):
                check()
                lance.LanceDataset.commit(
                    self._uri(dataset),
                    lance.LanceOperation.Append(fragments),
                    read_version=ds.version,
                    storage_options=self._options,
                )

        self._retry(dataset, commit)
