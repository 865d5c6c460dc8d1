"""Files of one store: they appear under their name whole, or not at all; local or fsspec."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from core._directories import sync_directory
from core.object_store import Bucket, explained
from core.points import reached

TEMPORARY = ".writing"


class FileStore:
    """Named files in one directory, local or on any fsspec URL; threads may share it."""

    def __init__(self, url: str, bucket: Bucket | None = None) -> None:
        """`url`: a local path (made on the first write), a URL that fsspec takes, or one in
        `bucket`. Nothing is opened before the first call: s3fs has a thread, which does not
        survive a fork."""
        self._url, self._bucket = url, bucket

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        options = self._bucket.access.for_fsspec if self._bucket else {}
        fs, root = fsspec.core.url_to_fs(self._url, **options)
        return fs, root.rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    @cached_property
    def _local(self) -> Path | None:
        return Path(self._root) if "file" in _protocols(self._fs) else None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Whatever an object store's library raises becomes an OSError that says what to do."""
        try:
            yield
        except Exception as error:
            known = explained(error) if self._bucket else None
            if known is None:
                raise
            raise OSError(known) from error

    def _names(self) -> list[str]:
        with self._reaching():
            self._fs.invalidate_cache()  # other processes write here too
            try:
                paths = self._fs.ls(self._root, detail=False)
            except FileNotFoundError as error:
                if explained(error) is not None:  # no bucket
                    raise
                return []
            return sorted(path.rsplit("/", 1)[-1] for path in paths)

    def _modified(self, name: str) -> float:
        """Seconds since the epoch; infinite for a file that went away meanwhile."""
        try:
            with self._reaching():
                modified: datetime = self._fs.modified(f"{self._root}/{name}")
        except FileNotFoundError:
            return math.inf
        return modified.timestamp()

    def _read(self, name: str) -> bytes:
        with self._reaching():
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def _publish(self, name: str, data: bytes) -> None:
        """Let `data` appear under `name`, which is said by its content.

        In an object store one put does: an object appears whole. No condition goes with it: who
        else writes the name writes the same bytes, and what is damaged is to be replaced. It is
        read back instead, for the database will name it next.
        """
        if self._local is None:
            with self._reaching():
                if self._bucket is None:
                    self._fs.makedirs(self._root, exist_ok=True)
                self._fs.pipe_file(f"{self._root}/{name}", data)
            if self._read(name) != data:
                raise OSError(f"{name} reads back as other bytes than were written")
            return
        self._local.mkdir(parents=True, exist_ok=True)
        temporary = self._local / f"{name}.{secrets.token_hex(4)}{TEMPORARY}"
        try:
            reached("checkpoint:before-write")
            _write(temporary, data)
            _rename(temporary, self._local / name)
            reached("checkpoint:after-rename")
            sync_directory(self._local)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove(self, name: str) -> bool:
        path = f"{self._root}/{name}"
        if self._bucket is not None:
            return self._bucket.destroy(path).files > 0
        if not self._fs.exists(path):  # an object store deletes what is not there, silently
            return False
        with suppress(FileNotFoundError):  # another sweep was faster
            self._fs.rm_file(path)
        if self._local is not None:
            sync_directory(self._local)
        return True


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        reached("checkpoint:after-write")
        os.fsync(file.fileno())
    reached("checkpoint:after-fsync")


def _rename(temporary: Path, path: Path) -> None:
    temporary.replace(path)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
