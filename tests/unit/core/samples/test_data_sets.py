"""Data sets that are made, dropped, unknown, damaged or out of reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import samples
from core._writer_locks import FileLock, NoLock
from core.samples import (
    DatasetBusy,
    DatasetExists,
    DatasetMissing,
    SamplesInvalid,
    SampleStore,
    SampleStoreUnreadable,
)
from tests.unit.core.samples.making import ROWS, SHAPE, holding


def test_an_unknown_data_set_is_named(store: SampleStore) -> None:
    calls = [
        lambda: store.count("none"),
        lambda: store.shape("none"),
        lambda: store.append("none", []),
        lambda: store.delete("none", []),
        lambda: store.purge("none"),
        lambda: store.take("none", [1]),
    ]
    for call in calls:
        with pytest.raises(DatasetMissing, match="import it first"):
            call()
    assert not store.exists("none")


@pytest.mark.parametrize("name", ["", "..", "../digits", "a/b", ".hidden", "a b", "x" * 101])
def test_a_name_cannot_leave_the_store(store: SampleStore, name: str) -> None:
    with pytest.raises(SamplesInvalid, match="cannot name a data set"):
        store.create(name, SHAPE)


@pytest.mark.parametrize("shape", [(8, 8), (1, 0, 8), (1, 8, 8, 3)])
def test_a_shape_has_three_sides(store: SampleStore, shape: tuple[int, ...]) -> None:
    with pytest.raises(SamplesInvalid, match="C, H, W"):
        store.create("new", shape)


def test_create_and_drop(store: SampleStore, root: Path) -> None:
    with pytest.raises(DatasetExists, match="another name"):
        store.create("digits", SHAPE)
    assert store.exists("digits")
    store.drop("digits")
    store.drop("digits")
    assert not store.exists("digits")
    assert holding(root, 1) == set()
    store.create("digits", (3, 2, 2))
    assert store.shape("digits") == (3, 2, 2)


def test_a_data_set_in_use_is_not_dropped(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "DROP_WAIT_SECONDS", 0.0)
    with (
        FileLock(root / "digits.lock").shared(),
        pytest.raises(DatasetBusy, match="drop it later"),
    ):
        store.drop("digits")
    assert store.count("digits") == ROWS


@pytest.mark.parametrize("part", ["_versions", "data"])
@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_a_damaged_data_set_is_told_from_a_missing_one(
    store: SampleStore, root: Path, part: str, harm: str
) -> None:
    for path in (root / "digits.lance" / part).iterdir():
        if harm == "lost":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SampleStoreUnreadable, match="restore it"):
        store.take("digits", [1])
    store.drop("digits")
    assert not store.exists("digits")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SampleStoreUnreadable, match="can be read and written"):
        SampleStore(str(tmp_path / "file" / "samples")).create("digits", SHAPE)


def test_object_stores_have_no_lock(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lance's own in-memory store stands for one: not a path, so nothing can be locked."""
    lock = NoLock()
    with lock.shared(), lock.exclusive(0) as alone:
        assert not alone
    remote = SampleStore("memory://samples")
    remote.drop("nothing")
    monkeypatch.setattr(store, "_lock", lambda dataset: lock)
    store.delete("digits", [1])
    assert not store.purge("digits").complete
    assert store.purge("digits", exclusive=True).complete
