"""Model checkpoints: safetensors files named by the SHA-256 of their bytes.

A name cannot lie about its content, equal content has one name, and nothing is ever
executed on load (no pickle). A file appears under its name whole, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from core._files import TEMPORARY, FileStore
from core.errors import Invalid, LetheError, NotFound, Unavailable

Arrays = Mapping[str, npt.NDArray[Any]]

SUFFIX = ".safetensors"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class CheckpointMissing(NotFound):
    """No checkpoint of that digest is in the store."""


class CheckpointCorrupt(LetheError):  # named like its siblings
    """A checkpoint's bytes are not what its name says."""


class CheckpointInvalid(Invalid):
    """A digest that is none, or arrays and metadata that a checkpoint cannot hold."""


class CheckpointStoreUnavailable(Unavailable):
    """The store cannot be written or read now."""


@dataclass(frozen=True)
class Stored:
    """A checkpoint in the store: its SHA-256 in hex, its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read and verified. `arrays` may be written to; nobody else sees it."""

    digest: str
    arrays: dict[str, npt.NDArray[Any]]
    metadata: dict[str, str]


class CheckpointStore(FileStore):
    """Checkpoints in one directory, local or on any fsspec URL; threads may share it."""

    def write(self, arrays: Arrays, metadata: Mapping[str, str]) -> Stored:
        """Store arrays and flat metadata; equal content is stored once.

        Writing what is there already verifies it, and mends it when it is damaged.

        Raises:
            CheckpointInvalid: metadata that is not text, or an array of a type that
                safetensors lacks.
            CheckpointStoreUnavailable: the store cannot be written.
        """
        data = serialise(arrays, metadata)
        stored = Stored(hashlib.sha256(data).hexdigest(), len(data))
        try:
            if self._digest_found(stored.digest) != stored.digest:
                self._publish(_name(stored.digest), data)
        except OSError as err:
            raise CheckpointStoreUnavailable(
                f"Cannot write to the checkpoint store {self._url}: check its space and "
                f"permissions ({err})"
            ) from err
        return stored

    def read(self, digest: str) -> Checkpoint:
        """Load a checkpoint; its bytes are hashed on every load.

        Raises: CheckpointMissing; CheckpointCorrupt; CheckpointStoreUnavailable.
        """
        data = self._bytes(digest)
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise CheckpointCorrupt(
                f"Checkpoint {digest} is damaged: its bytes have SHA-256 {found}. "
                "Restore the file from a backup, or roll back to another version"
            )
        return deserialise(digest, data)

    def exists(self, digest: str) -> bool:
        """Whether a file of that name is there; `read` says whether it is sound."""
        with self._reaching():
            return bool(self._fs.exists(f"{self._root}/{_name(digest)}"))

    def digests(self) -> list[str]:
        """Digests of every stored checkpoint, sorted."""
        return sorted(name.removesuffix(SUFFIX) for name in self._names() if _is_final(name))

    def destroy(self, digest: str) -> bool:
        """Remove a checkpoint for good. Idempotent; returns whether it was there.

        On a local disk the removal has reached the directory when this returns. The blocks
        are freed, not overwritten: on journals and flash, overwriting would promise nothing.
        """
        return self._remove(_name(digest))

    def remove_orphans(self, keep: set[str], older_than_seconds: float) -> list[str]:
        """Remove checkpoints not in `keep` and abandoned temporary files, if old enough.

        The age spares a job that has written its file and not yet its row. Returns the
        names of the removed files.
        """
        horizon = time.time() - older_than_seconds
        orphans = [
            name
            for name in self._names()
            if name.endswith(TEMPORARY)
            or (_is_final(name) and name.removesuffix(SUFFIX) not in keep)
        ]
        return [name for name in orphans if self._modified(name) <= horizon and self._remove(name)]

    # Inside

    def _bytes(self, digest: str) -> bytes:
        name = _name(digest)
        try:
            return self._read(name)
        except FileNotFoundError as err:
            raise CheckpointMissing(
                f"Checkpoint {digest} is not in {self._url}: it was destroyed, or the store "
                "is another one (see LETHE_STORE_URL)"
            ) from err
        except OSError as err:
            raise CheckpointStoreUnavailable(
                f"Cannot read checkpoint {digest} from {self._url}: check access ({err})"
            ) from err

    def _digest_found(self, digest: str) -> str | None:
        try:
            return hashlib.sha256(self._bytes(digest)).hexdigest()
        except CheckpointMissing:
            return None


def serialise(arrays: Arrays, metadata: Mapping[str, str]) -> bytes:
    """safetensors bytes; equal content gives equal bytes.

    safetensors orders tensors by type and name but metadata by chance, so the header is
    written again with sorted metadata.

    Raises: CheckpointInvalid.
    """
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise CheckpointInvalid("Metadata is text by text: encode other values, as JSON say")
    if "__metadata__" in arrays:
        raise CheckpointInvalid("'__metadata__' cannot name an array: safetensors reserves it")
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        data = safetensors.numpy.save(whole)
        size = int.from_bytes(data[:8], "little")
        header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except (SafetensorError, KeyError, ValueError, TypeError) as err:
        raise CheckpointInvalid(f"This does not fit into safetensors: {err}") from err
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(data)[8 + size :]])


def deserialise(digest: str, data: bytes) -> Checkpoint:
    """The inverse of `serialise`. Raises: CheckpointCorrupt: these bytes are not safetensors."""
    try:
        arrays = safetensors.numpy.load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, KeyError, ValueError) as err:
        raise CheckpointCorrupt(
            f"Checkpoint {digest} has the bytes that its name says, but they are not a "
            f"safetensors file: write it again with Lethe ({err})"
        ) from err
    return Checkpoint(digest, arrays, metadata)


def _name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise CheckpointInvalid(
            f"{digest!r} is no checkpoint digest: give the 64 hex digits of its SHA-256"
        )
    return f"{digest}{SUFFIX}"


def _is_final(name: str) -> bool:
    return name.endswith(SUFFIX) and bool(_DIGEST.fullmatch(name.removesuffix(SUFFIX)))
