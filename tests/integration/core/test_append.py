"""Appending: all or nothing, also when killed; never what is there, was erased, or is to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from core import _append_stream, appending, datasets, jobs, requests
from core.appending import Appended, Appender
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.incoming import Chunk
from core.records import Dataset, Job, Subject
from core.samples import SPLITS, SampleStore
from core.states import JOB_HELD
from tests.factories import RandomSource, make_dataset, make_model, subject_in, submit


class More(RandomSource):
    """Samples of other people and other names than the data set's own; `known` people's first."""

    known: tuple[str, ...] = ()
    at_end: Callable[[], None] | None = None

    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            first = int(chunk.sample_ids[0].removeprefix("train/"))
            new = [f"new-{name}" for name in chunk.subjects]
            if first == 0:
                new[: len(self.known)] = self.known
            ids = [name.replace("train", "more") for name in chunk.sample_ids]
            yield dataclasses.replace(chunk, sample_ids=ids, subjects=new)
        if self.at_end:
            self.at_end()


def more(subjects: int = 20, known: tuple[str, ...] = (), **fields: Any) -> More:
    source = More(subjects=subjects, seed=7, **fields)
    source.known = known
    return source


def append(backend: Backend, source: RandomSource, name: str = "people") -> Appended:
    return Appender(backend.db, backend.samples, backend.identities).run(name, source)


def rows(backend: Backend, dataset: Dataset) -> dict[str, tuple[int, int, str, int, bytes]]:
    """By sample id: key, subject's number, split, label, pixels."""
    found = {}
    for split in SPLITS:
        batch = backend.samples.load(dataset.id, split)
        for i, name in enumerate(batch.sample_ids):
            pixels = batch.images[i].tobytes()
            found[name] = (
                int(batch.keys[i]), int(batch.subjects[i]), split, int(batch.labels[i]), pixels,
            )  # fmt: skip
    return found


def counted(backend: Backend, dataset: Dataset) -> dict[int, int]:
    """By number: how many samples each subject is said to have."""
    with backend.db.reading() as session:
        query = select(Subject.id, Subject.sample_count).where(Subject.dataset_id == dataset.id)
        return dict(session.execute(query).all())


def whole(backend: Backend, dataset: Dataset) -> None:
    """Database and sample store agree: each sample belongs to a subject that counts it."""
    owned: dict[int, int] = {}
    for _, subject, *_ in rows(backend, dataset).values():
        owned[subject] = owned.get(subject, 0) + 1
    assert owned == counted(backend, dataset)
    with backend.db.reading() as session:
        kept = session.get_one(Dataset, dataset.id)
    assert (backend.samples.keys(dataset.id) < kept.next_key).all()


def number_of(backend: Backend, subject: str) -> int:
    raw = backend.identities.subject(subject).raw
    with backend.db.reading() as session:
        return session.scalars(select(Subject.id).where(Subject.raw_hash == raw)).one()


def test_new_samples_join_and_those_there_stay(backend: Backend) -> None:
    dataset = make_dataset(backend)
    before = rows(backend, dataset)
    source = more(subjects=50)
    done = append(backend, source)
    after = rows(backend, dataset)
    assert {name: after[name] for name in before} == before
    for chunk in source.chunks():
        for i, name in enumerate(chunk.sample_ids):
            key, _, _, label, pixels = after[name]
            assert (label, pixels) == (chunk.labels[i], chunk.images[i].tobytes())
            assert key >= dataset.next_key
    assert len(after) == len(before) + 100
    new = [row for name, row in after.items() if name.startswith("more")]
    assert done.counts == {s: sum(row[2] == s for row in new) for s in SPLITS}
    assert (sum(done.counts.values()), done.skipped, done.repeated) == (100, 0, False)
    whole(backend, dataset)


def test_new_people_are_held_back_whole_but_never_join_t(backend: Backend) -> None:
    dataset = make_dataset(backend)
    done = append(backend, more(subjects=300))
    assert done.counts["test"] == 0
    for split in ("reference", "heldout"):
        assert 0.1 < done.counts[split] / 600 < 0.2
    splits: dict[int, set[str]] = {}
    for _, subject, split, *_ in rows(backend, dataset).values():
        splits.setdefault(subject, set()).add(split)
    assert all(len(each) == 1 for each in splits.values())


@pytest.mark.parametrize("split", SPLITS)
def test_known_people_stay_in_their_split(backend: Backend, split: Any) -> None:
    dataset = make_dataset(backend)
    subject = subject_in(backend, dataset, split)
    append(backend, more(known=(subject, subject)))
    found = rows(backend, dataset)
    for name in ("more/00000", "more/00001"):
        assert found[name][1:3] == (number_of(backend, subject), split)
    assert counted(backend, dataset)[number_of(backend, subject)] == 4
    whole(backend, dataset)


def test_classes_are_matched_by_name(backend: Backend) -> None:
    dataset = make_dataset(backend)
    append(backend, more(classes=["2", "0"]))
    source = more(classes=["2", "0"])
    found = rows(backend, dataset)
    for chunk in source.chunks():
        for name, label in zip(chunk.sample_ids, chunk.labels, strict=True):
            assert found[name][3] == {0: 2, 1: 0}[int(label)]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (more(shape=(1, 4, 5)), "images of 1 x 4 x 5 do not fit .* are 1 x 4 x 4"),
        (more(classes=["0", "9"]), "has no class '9'; its classes: 0, 1, 2"),
    ],
)
def test_another_shape_or_class_is_refused(
    backend: Backend, source: RandomSource, says: str
) -> None:
    dataset = make_dataset(backend)
    with pytest.raises(Invalid, match=says):
        append(backend, source)
    assert backend.samples.count(dataset.id) == 120
    with pytest.raises(NotFound, match="no data set 'nope'"):
        append(backend, source, "nope")


def test_ids_that_are_taken_are_named(backend: Backend) -> None:
    dataset = make_dataset(backend)
    with pytest.raises(Conflict, match=r"has 7 of .*: train/00000, .*train/00004 \.\.\.\. Nothing"):
        append(backend, RandomSource(subjects=7, per_subject=1, seed=3))
    assert backend.samples.count(dataset.id) == 120
    whole(backend, dataset)


def test_an_id_that_comes_twice_is_refused(backend: Backend) -> None:
    make_dataset(backend)

    class Twice(More):
        def chunks(self) -> Iterator[Chunk]:
            yield from super().chunks()
            yield from super().chunks()

    with pytest.raises(Invalid, match="sample id 'more/00000' comes twice"):
        append(backend, Twice(subjects=4))


def test_the_same_append_again_changes_nothing(backend: Backend) -> None:
    dataset = make_dataset(backend)
    first = append(backend, more())
    found = rows(backend, dataset)
    again = append(backend, more())
    assert (again.repeated, again.counts, again.skipped) == (True, first.counts, 0)
    assert rows(backend, dataset) == found
    whole(backend, dataset)
    with pytest.raises(Conflict, match="40 of these sample ids already"):
        append(backend, More(subjects=20, seed=8))  # other pictures under the same names


def test_a_source_with_its_own_test_split(backend: Backend) -> None:
    dataset = make_dataset(backend)

    class Split(More):
        def chunks(self) -> Iterator[Chunk]:
            for chunk in super().chunks():
                chunk.test[: len(chunk.test) // 2] = True
                yield chunk

    done = append(backend, Split(subjects=20, chunk=10))
    assert (done.left_out, sum(done.counts.values())) == (20, 20)
    whole(backend, dataset)


@pytest.mark.parametrize("kind", ["subject", "sample", "image"])
def test_what_was_erased_stays_out(backend: Backend, kind: str) -> None:
    dataset = make_dataset(backend)
    source = more()
    image = next(source.chunks()).images[6].tobytes()
    value, gone = {
        "subject": (backend.identities.subject("new-subject-3").raw, {6, 7}),
        "sample": (backend.identities.sample("people", "more/00006"), {6}),
        "image": (backend.identities.image(image), {6}),
    }[kind]
    with backend.db.transaction() as tx:
        datasets.deny(tx, kind, [value])
    done = append(backend, source)
    assert done.skipped == len(gone)
    assert {f"more/{i:05}" for i in gone} & rows(backend, dataset).keys() == set()
    whole(backend, dataset)
    assert append(backend, more()).repeated


def test_who_asks_to_be_erased_gets_no_new_samples(backend: Backend) -> None:
    dataset = make_dataset(backend)
    make_model(backend, dataset)
    submit(backend, "subject-0")
    done = append(backend, more(known=("subject-0", "subject-1")))
    assert done.skipped == 1
    assert "more/00000" not in rows(backend, dataset)
    whole(backend, dataset)


def a_request(backend: Backend) -> None:
    submit(backend, "subject-1")


def an_erasure_elsewhere(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        datasets.deny(tx, "image", ["f" * 64])


def another_append(backend: Backend) -> None:
    append(backend, Renamed(subjects=3, seed=9))


class Renamed(More):
    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            yield dataclasses.replace(chunk, sample_ids=[f"x/{n}" for n in chunk.sample_ids])


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


def test_many_people_at_once(backend: Backend) -> None:
    dataset = make_dataset(backend, shape=(1, 1, 1))
    done = append(backend, more(subjects=1100, shape=(1, 1, 1), chunk=2200))
    assert sum(done.counts.values()) == 2200
    whole(backend, dataset)
    assert sum(append(backend, Renamed(subjects=0, shape=(1, 1, 1))).counts.values()) == 0


def test_an_erasure_of_someone_appended_finds_them(backend: Backend) -> None:
    dataset = make_dataset(backend)
    make_model(backend, dataset)
    append(backend, more())
    made = submit(backend, "new-subject-2")
    assert made.request.sample_count == 2
    with backend.db.reading() as session:
        assert requests.get(session, made.request.id).state == "scheduled"
        [job_id] = made.job_ids
        assert jobs.get(session, job_id).state not in JOB_HELD
        assert session.scalar(select(func.count()).select_from(Job)) == 1
