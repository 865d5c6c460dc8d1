"""An append is killed, fails, or meets others half-way: all or nothing, nobody trampled on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import _append_stream, appending, datasets
from core.backend import Backend
from core.errors import Conflict
from core.records import Dataset, Job, Subject
from core.samples import SampleStore
from tests.factories import make_dataset, make_model, submit
from tests.integration.core.appending import (
    Renamed,
    append,
    counted,
    more,
    number_of,
    rows,
    whole,
)


def a_request(backend: Backend) -> None:
    submit(backend, "subject-1")


def an_erasure_elsewhere(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        datasets.deny(tx, "image", ["f" * 64])


def another_append(backend: Backend) -> None:
    append(backend, Renamed(subjects=3, seed=9))


def a_job_that_destroys(backend: Backend) -> None:
    made = submit(backend, "subject-5")
    with backend.db.transaction() as tx:
        job = tx.session.get_one(Job, made.job_ids[0])
        job.state = "destroying"


def a_subject_gone(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        tx.session.delete(tx.session.get_one(Subject, number_of(backend, "subject-1")))


@pytest.mark.parametrize(
    "between",
    [a_request, an_erasure_elsewhere, another_append, a_job_that_destroys, a_subject_gone],
)
def test_what_comes_in_between_is_not_trampled_on(
    backend: Backend, between: Callable[[Backend], None]
) -> None:
    dataset = make_dataset(backend)
    make_model(backend, dataset)
    source = more(known=("subject-1",))
    source.at_end = lambda: between(backend)
    with pytest.raises(Conflict, match=r"meanwhile\. Nothing was appended; run it again"):
        append(backend, source)
    found = rows(backend, dataset)
    assert not any(name.startswith("more") for name in found)
    assert 0 not in counted(backend, dataset).values()


class _KilledError(BaseException):
    """Nothing may handle it: a kill runs no clean-up."""


@pytest.mark.parametrize("when", ["streaming", "before the store", "after the store"])
def test_killed_anywhere_nothing_was_appended_and_a_retry_appends_all(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    dataset = make_dataset(backend)

    def kill(*_: Any, **__: Any) -> None:
        raise _KilledError

    source = more()
    if when == "streaming":
        source.at_end = kill
    elif when == "before the store":
        monkeypatch.setattr(SampleStore, "_commit_append", kill)
    else:
        real = SampleStore.append

        def killed(self: SampleStore, *arguments: Any, **options: Any) -> None:
            real(self, *arguments, **options)
            raise _KilledError

        monkeypatch.setattr(SampleStore, "append", killed)
    monkeypatch.setattr(appending, "settle", _only_first(appending.settle))
    monkeypatch.setattr(_append_stream.AppendStream, "forget_new_subjects", lambda _: None)
    with pytest.raises(_KilledError):
        append(backend, source)
    monkeypatch.undo()
    assert backend.samples.count(dataset.id) == (160 if when == "after the store" else 120)
    with backend.db.reading() as session:
        assert session.get_one(Dataset, dataset.id).next_key == 120
    done = append(backend, more())
    assert (sum(done.counts.values()), done.repeated) == (40, False)
    assert backend.samples.count(dataset.id) == 160
    whole(backend, dataset)


def _only_first(real: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Settle before the append, as it does; not after it, where the process is dead."""
    calls = 0

    def settle(*arguments: Any, **options: Any) -> Dataset:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise _KilledError
        return real(*arguments, **options)

    return settle


def test_what_a_killed_append_left_is_destroyed_by_settling(backend: Backend) -> None:
    dataset = make_dataset(backend)
    left = backend.samples.load(dataset.id, "train")
    pixels = np.full((1, 1, 4, 4), 213, np.uint8)
    orphan = dataclasses.replace(
        left,
        keys=np.array([120]),
        sample_ids=["orphan"],
        subjects=np.array([99]),
        labels=left.labels[:1],
        splits=left.splits[:1],
        images=pixels,
    )
    backend.samples.append(dataset.id, [orphan])
    folder = backend.settings.home / "store" / "samples"

    def holds() -> bool:
        return any(b"\xd5" * 16 in p.read_bytes() for p in folder.rglob("*") if p.is_file())

    assert holds()
    for _ in range(2):
        appending.settle(backend.db, backend.samples, dataset.id)
        assert backend.samples.count(dataset.id) == 120
    assert not holds()
    whole(backend, dataset)


def test_a_failed_append_leaves_nothing(backend: Backend) -> None:
    dataset = make_dataset(backend)
    before = rows(backend, dataset)

    def fail() -> None:
        raise ValueError("a bad file")

    source = more()
    source.at_end = fail
    with pytest.raises(ValueError, match="a bad file"):
        append(backend, source)
    assert rows(backend, dataset) == before
    whole(backend, dataset)
