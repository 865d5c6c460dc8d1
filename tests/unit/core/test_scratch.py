"""Scratch: the newest of the newest claim, whole or not at all, and gone with its job."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from core import _files
from core.scratch import ScratchStore


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full(3, value, dtype=np.float32), "t": np.array(value, dtype=np.float32)}


def keep(store: ScratchStore, fence: int, step: int, job: str = "job_a") -> None:
    store.write(job, fence, step, arrays(step), {"state": str(step)})


def state(store: ScratchStore, job: str = "job_a") -> str | None:
    kept = store.latest(job)
    return None if kept is None else kept.metadata["state"]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ScratchStore:
    return ScratchStore(
        str(tmp_path / "scratch") if request.param == "local" else f"memory://{tmp_path}/scratch"
    )


def test_the_newest_replaces_what_was_kept(store: ScratchStore) -> None:
    assert store.latest("job_a") is None
    keep(store, 1, 10)
    keep(store, 1, 9)  # of a run that began anew: the last one written counts
    keep(store, 1, 20)
    keep(store, 1, 5, job="job_b")
    assert (state(store), state(store, "job_b")) == ("20", "5")
    assert len(store._names()) == 2
    kept = store.latest("job_a")
    assert kept is not None
    np.testing.assert_array_equal(kept.arrays["t"], np.float32(20))
    assert store.destroy("job_a") == 1
    assert store.destroy("job_a") == 0
    assert (state(store), state(store, "job_b")) == (None, "5")
    keep(store, 1, 1)
    assert [name.split(".")[0] for name in store.destroy_others({"job_b"})] == ["job_a"]


def test_a_worker_that_lost_its_lease_hides_nothing(store: ScratchStore) -> None:
    keep(store, 2, 10)
    keep(store, 1, 500)
    assert state(store) == "10"
    keep(store, 2, 20)
    assert state(store) == "20"
    assert len(store._names()) == 1, "what it wrote is gone"


@pytest.mark.parametrize("harm", ["flipped", "cut", "another file's bytes"])
def test_what_is_damaged_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    store = ScratchStore(str(tmp_path))
    keep(store, 1, 10)
    [path] = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes({"flipped": data[:-1] + b"\xff", "cut": data[:9]}.get(harm, b"not this"))
    with caplog.at_level(logging.WARNING):
        assert store.latest("job_a") is None
    assert "cannot be used" in caplog.text


def test_a_kill_in_the_middle_leaves_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    store = ScratchStore(str(tmp_path))
    keep(store, 1, 10)
    with monkeypatch.context() as patch:
        patch.setattr(_files, "_rename", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            keep(store, 1, 20)
    assert state(store) == "10"
    assert len(list(tmp_path.iterdir())) == 2
    assert store.destroy("job_a") == 2, "the unfinished file is the job's too"
