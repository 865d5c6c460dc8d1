"""The checkpoint store: names that cannot lie, whole files or none, on disk and elsewhere."""

from __future__ import annotations

import errno
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import _files
from core.checkpoints import (
    CheckpointCorrupt,
    CheckpointInvalid,
    CheckpointMissing,
    CheckpointStore,
    CheckpointStoreUnavailable,
    deserialise,
    serialise,
)

ARRAYS = {
    "representer.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7, np.int64),
    "nothing": np.zeros((0, 4), np.float16),
}
METADATA = {"architecture": '{"layers": [96, "é"]}', "preset": "digits-mlp", "": "\n\x00"}
ABSENT = "0" * 64


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    if request.param == "local":
        return CheckpointStore(str(tmp_path / "checkpoints"))
    return CheckpointStore(f"memory://{tmp_path.name}/checkpoints")


def test_what_is_written_is_read(store: CheckpointStore) -> None:
    stored = store.write(ARRAYS, METADATA)
    checkpoint = store.read(stored.digest)
    assert checkpoint.digest == stored.digest
    assert checkpoint.metadata == METADATA
    assert checkpoint.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert checkpoint.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(checkpoint.arrays[name], array, strict=True)
        checkpoint.arrays[name][...] = 0  # its own copy


def test_the_name_is_the_hash_of_the_file(tmp_path: Path) -> None:
    stored = CheckpointStore(str(tmp_path)).write(ARRAYS, METADATA)
    data = (tmp_path / f"{stored.digest}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == stored.digest
    assert len(data) == stored.size
    assert [path.name for path in tmp_path.iterdir()] == [f"{stored.digest}.safetensors"]


def test_equal_content_has_one_digest_that_never_changes() -> None:
    backwards = serialise(dict(reversed(ARRAYS.items())), dict(reversed(METADATA.items())))
    assert backwards == serialise(ARRAYS, METADATA)
    # Frozen: stored names must stay valid across releases of Lethe and of safetensors.
    assert hashlib.sha256(backwards).hexdigest().startswith("3941eabce301dd8c")


def test_strided_arrays_are_stored_by_value() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert serialise({"a": array.T}, {}) == serialise({"a": array.T.copy()}, {})


@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_any_text_comes_back(metadata: dict[str, str]) -> None:
    data = serialise({}, metadata)
    assert deserialise("", data).metadata == metadata
    assert int.from_bytes(data[:8], "little") % 8 == 0


@pytest.mark.parametrize(
    ("arrays", "metadata"),
    [
        ({"a": np.array(["text"])}, {}),
        ({"a": np.array([object()])}, {}),
        ({"__metadata__": np.zeros(1)}, {}),
        ({}, {"epochs": 4}),
        ({}, {"name": "\ud800"}),
    ],
)
def test_what_cannot_be_stored_is_refused(
    store: CheckpointStore, arrays: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    with pytest.raises(CheckpointInvalid):
        store.write(arrays, metadata)
    assert store.digests() == []


def test_writing_again_changes_nothing_but_mends_damage(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    stored = store.write(ARRAYS, METADATA)
    path = tmp_path / f"{stored.digest}.safetensors"
    before = path.stat()
    assert store.write(ARRAYS, METADATA) == stored
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(b"\0" * stored.size)
    assert store.write(ARRAYS, METADATA) == stored
    assert store.read(stored.digest).metadata == METADATA


@pytest.mark.parametrize("position", [0, 8, 100, -1])
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, position: int) -> None:
    store = CheckpointStore(str(tmp_path))
    digest = store.write(ARRAYS, METADATA).digest
    path = tmp_path / f"{digest}.safetensors"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointCorrupt) as error:
        store.read(digest)
    assert digest in str(error.value)
    assert hashlib.sha256(data).hexdigest() in str(error.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04N.", b"\x02" + b"\0" * 7 + b"[]", b"\xff" * 64])
def test_other_files_are_not_loaded_even_under_their_own_hash(tmp_path: Path, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / f"{digest}.safetensors").write_bytes(data)
    with pytest.raises(CheckpointCorrupt, match="not a safetensors file"):
        CheckpointStore(str(tmp_path)).read(digest)


def test_a_missing_checkpoint_is_named(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointMissing, match=ABSENT):
        store.read(ABSENT)
    assert not store.exists(ABSENT)
    assert store.digests() == []


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_no_other_file_can_be_reached(store: CheckpointStore, digest: str) -> None:
    for call in (store.read, store.exists, store.destroy):
        with pytest.raises(CheckpointInvalid):
            call(digest)


def test_destroy_is_idempotent(store: CheckpointStore) -> None:
    kept = store.write(ARRAYS, {}).digest
    digest = store.write(ARRAYS, METADATA).digest
    assert store.digests() == sorted([kept, digest])
    assert store.exists(digest)
    assert store.destroy(digest)
    assert not store.destroy(digest)
    assert not store.exists(digest)
    assert store.digests() == [kept]


def test_orphans_go_once_they_are_old(store: CheckpointStore) -> None:
    kept = store.write(ARRAYS, {}).digest
    orphan = store.write(ARRAYS, METADATA).digest
    assert store.remove_orphans({kept}, older_than_seconds=60) == []
    assert store.remove_orphans({kept}, older_than_seconds=0) == [f"{orphan}.safetensors"]
    assert store.remove_orphans({kept}, older_than_seconds=0) == []
    assert store.digests() == [kept]


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("step", ["_write", "_rename", "sync_directory"])
def test_killed_anywhere_then_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = CheckpointStore(str(tmp_path))

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_files, step, die)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # nobody tidies up
        with pytest.raises(Killed):
            store.write(ARRAYS, METADATA)
    for digest in store.digests():
        assert store.read(digest).metadata == METADATA
    stored = store.write(ARRAYS, METADATA)
    assert store.read(stored.digest).metadata == METADATA
    store.remove_orphans({stored.digest}, older_than_seconds=0)
    assert [path.name for path in tmp_path.iterdir()] == [f"{stored.digest}.safetensors"]


def test_foreign_and_vanished_files_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(str(tmp_path))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "short.safetensors").touch()
    monkeypatch.setattr(store, "_names", lambda: [f"{ABSENT}.safetensors"])
    assert store.remove_orphans(set(), older_than_seconds=-time.time()) == []
    monkeypatch.undo()
    assert store.digests() == []
    assert store.remove_orphans(set(), older_than_seconds=0) == []
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "short.safetensors"}


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files, "_write", fill)
    with pytest.raises(CheckpointStoreUnavailable, match="check its space"):
        CheckpointStore(str(tmp_path)).write(ARRAYS, METADATA)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / f"{ABSENT}.safetensors").mkdir()
    with pytest.raises(CheckpointStoreUnavailable, match="check access"):
        CheckpointStore(str(tmp_path)).read(ABSENT)
