"""The sample store: what is read, what is refused, and that deletion destroys the bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pytest
from lance.dataset import DatasetOptimizer

from core import _lance, _sample_batch, _sample_reads, samples
from core.samples import (
    SPLIT_CODE,
    SPLITS,
    DatasetBusy,
    DatasetExists,
    DatasetMissing,
    ForkedProcessError,
    Purge,
    SampleBatch,
    SamplesInvalid,
    SamplesMissing,
    SampleStore,
    SampleStoreUnreadable,
    TooFewSamples,
)

SHAPE = (1, 8, 8)
ROWS = 600


def name_of(key: int) -> str:
    """Names with all that a filter's text could stumble over."""
    return f"tr'ain/{key:05d}\" OR 1=1 -- é%"


def pixels_of(key: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Random pixels: no two samples share eight bytes in a row, in all likelihood."""
    return np.random.default_rng(key).integers(0, 256, shape, np.uint8)


def batch_of(keys: range) -> SampleBatch:
    """Samples whose every column follows from the key."""
    numbers = np.array(keys, np.int64)
    return SampleBatch(
        keys=numbers,
        sample_ids=[name_of(key) for key in keys],
        subjects=numbers // 10,
        labels=(numbers % 3).astype(np.int32),
        splits=(numbers % 4).astype(np.int8),
        images=np.stack([pixels_of(key) for key in keys]),
    )


def assert_batch(batch: SampleBatch, keys: list[int]) -> None:
    """Every column belongs to these keys, in this order."""
    numbers = np.array(keys)
    np.testing.assert_array_equal(batch.keys, numbers)
    assert batch.sample_ids == [name_of(key) for key in keys]
    np.testing.assert_array_equal(batch.subjects, numbers // 10)
    np.testing.assert_array_equal(batch.labels, numbers % 3)
    np.testing.assert_array_equal(batch.splits, numbers % 4)
    np.testing.assert_array_equal(batch.images, np.stack([pixels_of(key) for key in keys]))


def holding(root: Path, key: int) -> set[str]:
    """Names of the files that hold the sample's pixels, part of them, or its name."""
    pixels = pixels_of(key).tobytes()
    needles = [pixels, pixels[:16], pixels[-16:], name_of(key).encode()]
    files = [path for path in root.rglob("*") if path.is_file()]
    contents = {path.name: path.read_bytes() for path in files}
    return {name for name, data in contents.items() for needle in needles if needle in data}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six fragments of 100 samples."""
    root = tmp_path_factory.mktemp("original")
    store = SampleStore(str(root))
    store.create("digits", SHAPE)
    for start in range(0, ROWS, 100):
        store.append("digits", [batch_of(range(start, start + 100))])
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "samples"))


@pytest.fixture
def store(root: Path) -> SampleStore:
    return SampleStore(str(root))


# Reading


def test_counts(store: SampleStore) -> None:
    assert store.shape("digits") == SHAPE
    assert store.count("digits") == ROWS
    assert [store.count("digits", split) for split in SPLITS] == [ROWS // 4] * 4
    assert store.class_counts("digits") == dict.fromkeys(range(3), ROWS // 3)
    assert store.class_counts("digits", "test") == dict.fromkeys(range(3), ROWS // 12)
    np.testing.assert_array_equal(store.keys("digits", "heldout"), np.arange(2, ROWS, 4))


def test_take_gives_what_was_asked_in_that_order(store: SampleStore) -> None:
    store.delete("digits", [0, 99, 100, 305])
    asked = [599, 1, 300, 1, 101, 306]
    assert_batch(store.take("digits", asked), asked)
    assert len(store.take("digits", [])) == 0
    assert store.take("digits", []).images.shape == (0, *SHAPE)


def test_take_follows_keys_even_where_later_fragments_hold_smaller_ones(
    store: SampleStore,
) -> None:
    store.create("late", SHAPE)
    for keys in (range(500, 510), range(10), range(100, 110)):
        store.append("late", [batch_of(keys)])
    assert_batch(store.take("late", [505, 3, 109, 0]), [505, 3, 109, 0])


def test_missing_samples_are_listed(store: SampleStore) -> None:
    store.delete("digits", [7])
    with pytest.raises(SamplesMissing, match="2 samples") as error:
        store.take("digits", [8, 7, 10**12])
    assert error.value.keys == [7, 10**12]


def test_find_subject(store: SampleStore) -> None:
    found = store.find_subject("digits", [3, 59, 1000])
    np.testing.assert_array_equal(found.keys, [*range(30, 40), *range(590, 600)])
    np.testing.assert_array_equal(found.subjects, found.keys // 10)
    np.testing.assert_array_equal(found.labels, found.keys % 3)
    np.testing.assert_array_equal(found.splits, found.keys % 4)
    assert len(store.find_subject("digits", [])) == 0


def test_sample_ids_are_compared_not_interpreted(store: SampleStore) -> None:
    wanted = [name_of(5), name_of(555), "' OR '1'='1", "", name_of(5)[:-1]]
    assert store.find_sample_ids("digits", wanted) == {name_of(5): 5, name_of(555): 555}
    assert store.find_sample_ids("digits", []) == {}


@pytest.mark.parametrize("gain", [1, 10**9], ids=["by position", "by scan"])
def test_random_samples(store: SampleStore, monkeypatch: pytest.MonkeyPatch, gain: int) -> None:
    monkeypatch.setattr(_sample_reads, "SCAN_GAIN", gain)
    store.delete("digits", range(0, ROWS, 8))
    exclude = list(range(4, 100, 4))
    batch = store.take_random("digits", "train", 40, seed=3, exclude=exclude)
    assert_batch(batch, batch.keys.tolist())
    assert len(set(batch.keys.tolist())) == 40
    assert set(batch.splits.tolist()) == {SPLIT_CODE["train"]}
    assert not set(batch.keys.tolist()) & {*exclude, *range(0, ROWS, 8)}
    assert sorted(batch.keys.tolist()) != batch.keys.tolist()
    again = store.take_random("digits", "train", 40, seed=3, exclude=exclude)
    np.testing.assert_array_equal(again.keys, batch.keys)
    other = store.take_random("digits", "train", 40, seed=4, exclude=exclude)
    assert set(other.keys.tolist()) != set(batch.keys.tolist())
    rest = [key for key in range(4, ROWS, 8) if key >= 100]
    every = store.take_random("digits", "train", len(rest), seed=0, exclude=exclude)
    assert sorted(every.keys.tolist()) == rest
    assert len(store.take_random("digits", "train", 0, seed=0)) == 0


@pytest.mark.parametrize("gain", [1, 10**9], ids=["by position", "by scan"])
def test_random_samples_are_uniform(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch, gain: int
) -> None:
    monkeypatch.setattr(_sample_reads, "SCAN_GAIN", gain)
    exclude = range(40, ROWS)  # ten remain of each split
    times = np.zeros(40)
    for seed in range(100):
        times[store.take_random("digits", "test", 5, seed=seed, exclude=exclude).keys] += 1
    # Each of the ten is taken Binomial(100, 1/2) times: five sigma, and none elsewhere.
    assert times.sum() == 500
    assert np.all(np.abs(times[3::4] - 50) <= 25)


def test_too_few_samples(store: SampleStore) -> None:
    with pytest.raises(TooFewSamples, match="has 150 samples of split 'heldout'"):
        store.take_random("digits", "heldout", 151, seed=0)


def test_load(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sample_reads, "LOAD_ROWS", 7)
    store.delete("digits", [2])
    batch = store.load("digits", "heldout", exclude=[6, 598])
    assert_batch(batch, list(range(10, 598, 4)))
    store.delete("digits", range(2, ROWS, 4))
    assert len(store.load("digits", "heldout")) == 0


# Writing


def test_fragments_stay_small(store: SampleStore, root: Path) -> None:
    store.create("large", (1, 1, 1))
    rows = 70_000
    zeros = np.zeros(rows, np.int64)
    told: list[int] = []
    batch = SampleBatch(
        keys=np.arange(rows),
        sample_ids=[str(key) for key in range(rows)],
        subjects=zeros,
        labels=zeros.astype(np.int32),
        splits=zeros.astype(np.int8),
        images=np.zeros((rows, 1, 1, 1), np.uint8),
    )
    assert store.append("large", [batch], progress=told.append) == rows
    assert told == [rows]
    store.delete("large", [0, 65_535, 65_536])
    store.purge("large")
    fragments = lance.dataset(str(root / "large.lance")).get_fragments()
    assert [fragment.count_rows() for fragment in fragments] == [65_534, 4463]


def test_an_empty_append_adds_nothing(store: SampleStore) -> None:
    assert store.append("digits", []) == 0
    assert store.append("digits", [batch_of(range(700, 701))], progress=None) == 1
    empty = _sample_batch.empty(SHAPE, 0)
    assert store.append("digits", [empty]) == 0
    assert store.count("digits") == ROWS + 1


def changed(**columns: object) -> SampleBatch:
    return SampleBatch(**{**vars(batch_of(range(1000, 1003))), **columns})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed(images=np.zeros((3, 8, 8), np.uint8)), "uint8"),
        (changed(images=np.zeros((3, *SHAPE), np.float32)), "float32"),
        (changed(sample_ids=["one"]), "Every column needs 3 rows"),
        (changed(splits=np.array([0, 1, 4], np.int8)), "A split"),
        (changed(splits=np.array([-1, 1, 2], np.int8)), "A split"),
        (changed(keys=np.array([1000, 1002, 1001])), "ascend"),
        (changed(keys=np.array([1000, 1000, 1001])), "ascend"),
        (changed(keys=np.array([-1, 0, 1])), "ascend"),
        (batch_of(range(900, 903)), "ascend"),
    ],
)
def test_bad_samples_are_refused_whole(
    store: SampleStore, root: Path, bad: SampleBatch, message: str
) -> None:
    with pytest.raises(SamplesInvalid, match=message):
        store.append("digits", iter([batch_of(range(900, 950)), bad]))
    assert store.count("digits") == ROWS
    assert holding(root, 900) == set()


@pytest.mark.parametrize("keys", [range(599, 602), range(1), range(300, 310)])
def test_a_key_is_used_once(store: SampleStore, keys: range) -> None:
    with pytest.raises(SamplesInvalid, match="new samples new keys"):
        store.append("digits", [batch_of(keys)])
    assert store.count("digits") == ROWS


def test_an_error_in_the_source_reaches_the_caller(store: SampleStore, root: Path) -> None:
    def source() -> Iterator[SampleBatch]:
        yield batch_of(range(900, 950))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append("digits", source())
    assert store.count("digits") == ROWS
    assert holding(root, 900) == set()


def test_a_failing_disk_is_named(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(lance.fragment, "write_fragments", fail)
    with pytest.raises(SampleStoreUnreadable, match="No space left"):
        store.append("digits", [batch_of(range(900, 950))])


def test_ctrl_c_outside_the_source(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_commit_append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.append("digits", [batch_of(range(900, 950))])
    assert store.count("digits") == ROWS


def test_a_commit_that_failed_after_it_worked_is_not_repeated(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = lance.LanceDataset.commit

    def unsure(*args: object, **kwargs: object) -> None:
        commit(*args, **kwargs)
        raise OSError("connection reset")

    monkeypatch.setattr(lance.LanceDataset, "commit", unsure)
    assert store.append("digits", [batch_of(range(900, 950))]) == 50
    assert store.count("digits") == ROWS + 50


# Erasing


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
    with _lance.WriterLock(root / "digits.lock").shared():
        assert not store.purge("digits", wait_seconds=0.05).complete
        assert holding(root, 900), "this might be a living writer's file"
    assert store.purge("digits").complete
    assert holding(root, 900) == set()


def test_purge_waits_for_a_short_writer(store: SampleStore, root: Path) -> None:
    lock = _lance.WriterLock(root / "digits.lock")
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


# Many at once

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


# What is not there, or not whole


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
        _lance.WriterLock(root / "digits.lock").shared(),
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
    (tmp_path / "digits.lance").touch()
    with pytest.raises(SampleStoreUnreadable, match="can be read and written"):
        SampleStore(str(tmp_path)).create("digits", SHAPE)


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


def test_object_stores_have_no_lock(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lance's own in-memory store stands for one: not a path, so nothing can be locked."""
    lock = _lance.WriterLock(None)
    with lock.shared(), lock.exclusive(0) as alone:
        assert not alone
    remote = SampleStore("memory://samples")
    remote.drop("nothing")
    monkeypatch.setattr(store, "_lock", lambda dataset: lock)
    store.delete("digits", [1])
    assert not store.purge("digits").complete
    assert store.purge("digits", exclusive=True).complete
