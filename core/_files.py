"""Files of one store: they appear under their name whole, or not at all; local or fsspec."""

from __future__ import annotations

import math
import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec

from core._directories import sync_directory
from core.points import reached

TEMPORARY = ".writing"


class FileStore:
    """Named files in one directory, local or on any fsspec URL; threads may share it."""

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None) -> None:
        """`url`: a local path (made on the first write) or a URL that fsspec takes, with its
        `storage_options`."""
        self._url = url
        self._fs, self._root = fsspec.core.url_to_fs(url, **(storage_options or {}))
        self._root = self._root.rstrip("/")
        self._local = Path(self._root) if "file" in _protocols(self._fs) else None

    def _names(self) -> list[str]:
        self._fs.invalidate_cache()  # other processes write here too
        try:
            paths = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rsplit("/", 1)[-1] for path in paths)

    def _modified(self, name: str) -> float:
        """Seconds since the epoch; infinite for a file that went away meanwhile."""
        try:
            modified: datetime = self._fs.modified(f"{self._root}/{name}")
        except FileNotFoundError:
            return math.inf
        return modified.timestamp()

    def _read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def _publish(self, name: str, data: bytes) -> None:
        if self._local is None:
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(f"{self._root}/{name}", data)  # one put: an object appears whole
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
