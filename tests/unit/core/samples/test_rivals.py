"""Readers and writers at once, in threads, processes and forks."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import lance
import pytest

from core import _lance
from core.samples import (
    ForkedProcessError,
    SampleStore,
    SampleStoreUnreadable,
)
from tests.unit.core.samples.making import ROWS, assert_batch, batch_of, holding

READER = """
import sys
from core.samples import SampleStore
store, n = SampleStore(sys.argv[1]), 0
print("ready", flush=True)
import threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set())).start()
while not stop.is_set():
    assert store.take("digits", [1, 301, 599]).keys.tolist() == [1, 301, 599]
    assert len(store.take_random("digits", "test", 50, seed=n)) == 50
    assert len(store.load("digits", "train", exclude=range(0, 600, 4))) == 0
    n += 1
print(n)
"""


def test_readers_in_other_processes_notice_nothing(store: SampleStore, root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "ready\n"
        for key in range(2, 298, 4):
            store.delete("digits", [key, key + 300])
            assert store.purge("digits").fragments == 2
        reader.stdin.close()
        rounds = int(reader.stdout.read())
        assert reader.wait() == 0
    assert rounds >= 3


def test_a_version_that_is_purged_while_it_is_opened_is_passed_over(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = [], lance.dataset

    def open_late(*args: object, **options: object) -> object:
        opened.append(1)
        if len(opened) < 3 or lost:
            raise ValueError("Not found: digits.lance/_versions/18446744073709551594.manifest")
        return real(*args, **options)

    lost = False
    monkeypatch.setattr(lance, "dataset", open_late)
    assert store.count("digits") == ROWS
    lost = True
    with pytest.raises(SampleStoreUnreadable, match="restore it"):
        store.count("digits")


def test_writers_at_once_lose_nothing(store: SampleStore, root: Path) -> None:
    errors: list[Exception] = []

    def run(work: int) -> None:
        try:
            for turn in range(4):
                if work < 2:
                    assert store.delete("digits", [work * 10 + turn, 300 + work * 10 + turn]) == 2
                    store.purge("digits", wait_seconds=0.1)
                else:
                    start = work * 1000 + turn * 10
                    store.append("digits", [batch_of(range(start, start + 10))])
        except Exception as err:  # noqa: BLE001  # shown by the assertion below
            errors.append(err)

    threads = [threading.Thread(target=run, args=(work,)) for work in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.purge("digits").complete
    assert store.count("digits") == ROWS - 16 + 80
    assert_batch(store.take("digits", [2000, 3039, 299]), [2000, 3039, 299])
    for key in (0, 13, 300, 313):
        assert holding(root, key) == set()


def test_a_reader_whose_version_went_away_starts_over(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [lance.dataset(str(root / "digits.lance"))]
    store.delete("digits", [2])
    store.purge("digits")
    fresh = store._open
    monkeypatch.setattr(store, "_open", lambda name: stale.pop() if stale else fresh(name))
    assert_batch(store.take("digits", [1]), [1])


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from core.samples import ForkedProcessError, SampleStore
store = SampleStore(sys.argv[1])
store.count("digits")
if os.fork() == 0:
    try:
        store.count("digits")
    except ForkedProcessError:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_use_across_a_fork_is_an_error_not_a_crash(
    store: SampleStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7\n"
    monkeypatch.setattr(_lance, "_first_user", -1)
    with pytest.raises(ForkedProcessError, match="after the fork"):
        store.count("digits")
