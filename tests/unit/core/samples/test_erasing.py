"""An erased sample is in no file, whatever was killed on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import lance
import pytest
from lance.dataset import DatasetOptimizer

from core import _sample_batch
from core._writer_locks import FileLock
from core.samples import (
    Purge,
    SampleStore,
)
from tests.unit.core.samples.making import ROWS, assert_batch, batch_of, holding


def test_an_erased_sample_is_in_no_file(store: SampleStore, root: Path) -> None:
    erased = [*range(120, 130), 350]
    for key in erased:
        assert holding(root, key)
    assert store.delete("digits", erased) == 11
    assert store.delete("digits", [*erased, 10**9]) == 0
    assert store.delete("digits", []) == 0
    assert holding(root, 120), "deleting alone leaves the bytes: this test can fail"
    others = {path: path.stat().st_mtime_ns for path in root.glob("digits.lance/data/*")}

    report = store.purge("digits")

    for key in erased:
        assert holding(root, key) == set()
    assert holding(root, 119)
    assert report.complete
    assert report.fragments == 2
    assert report.bytes > 2 * 100 * 64
    left = {path: path.stat().st_mtime_ns for path in root.glob("digits.lance/data/*")}
    assert len(others.items() & left.items()) == 4, "fragments without erased rows are untouched"
    rest = [key for key in range(ROWS) if key not in erased]
    assert_batch(store.take("digits", rest), rest)
    assert store.purge("digits") == Purge(0, 0, 0, 0, complete=True)


def test_a_whole_fragment_and_then_everything_can_be_erased(store: SampleStore, root: Path) -> None:
    store.delete("digits", range(100))
    assert store.purge("digits").complete
    assert holding(root, 50) == set()
    store.delete("digits", range(ROWS))
    store.purge("digits")
    assert store.count("digits") == 0
    assert not list(root.glob("digits.lance/data/*"))
    assert len(store.take_random("digits", "train", 0, seed=0)) == 0
    store.append("digits", [batch_of(range(1000, 1010))])
    assert_batch(store.take("digits", [1003]), [1003])


@pytest.mark.parametrize("again", ["a deletion", "a rewrite", "a purge"])
def test_rows_that_move_while_they_are_looked_for_are_deleted_and_no_other(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Another process changes their fragment between the look and the commit."""
    delete, others = lance.LanceDataset.delete, iter(["once"])

    def late(ds: lance.LanceDataset, predicate: str) -> object:
        if next(others, None):
            rival = SampleStore(str(root))
            monkeypatch.setattr(lance.LanceDataset, "delete", delete)
            rival.delete("digits", [3])
            if again == "a rewrite":
                now = lance.dataset(str(root / "digits.lance"))
                now.optimize.compact_files(materialize_deletions_threshold=0.0)
            elif again == "a purge":
                rival.purge("digits", wait_seconds=0.01)
            monkeypatch.setattr(lance.LanceDataset, "delete", late)
        return delete(ds, predicate)

    monkeypatch.setattr(lance.LanceDataset, "delete", late)
    erased = [5, 99, 450]
    assert store.delete("digits", erased) == 3
    assert store.there("digits", range(ROWS)).tolist() == [
        key for key in range(ROWS) if key not in (3, *erased)
    ]


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("step", ["compact_files", "cleanup_old_versions"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_purging_then_purged_again(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    owner = DatasetOptimizer if step == "compact_files" else lance.LanceDataset
    real = getattr(owner, step)

    def die(*args: object, **kwargs: object) -> None:
        if when == "after":
            real(*args, **kwargs)
        raise Killed

    store.delete("digits", [5, 205])
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, die)
        with pytest.raises(Killed):
            store.purge("digits")
    assert store.purge("digits").complete
    assert holding(root, 5) | holding(root, 205) == set()
    assert store.count("digits") == ROWS - 2


def test_the_remains_of_a_killed_import_go_once_nobody_writes(
    store: SampleStore, root: Path
) -> None:
    batch = batch_of(range(900, 950))
    schema = lance.dataset(str(root / "digits.lance")).schema
    table = _sample_batch.to_arrow(batch, schema)
    lance.fragment.write_fragments(table, str(root / "digits.lance"), mode="append")
    assert holding(root, 900)
    with FileLock(root / "digits.lock").shared():
        assert not store.purge("digits", wait_seconds=0.05).complete
        assert holding(root, 900), "this might be a living writer's file"
    assert store.purge("digits").complete
    assert holding(root, 900) == set()


def test_purge_waits_for_a_short_writer(store: SampleStore, root: Path) -> None:
    lock = FileLock(root / "digits.lock")
    held = threading.Event()

    def write() -> None:
        with lock.shared():
            held.set()
            threading.Event().wait(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    held.wait()
    assert store.purge("digits", wait_seconds=10).complete
    writer.join()
