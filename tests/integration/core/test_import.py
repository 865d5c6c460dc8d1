"""Importing: in a stream, once, and without what was erased before."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, text

from core import datasets, incoming
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.importing import Imported, Importer
from core.incoming import Chunk
from core.records import Dataset, Denied, Subject
from core.samples import SPLITS
from tests.factories import RandomSource, make_dataset, make_model
from tests.integration.core.helpers import at_once, events_of


def run(backend: Backend, source: RandomSource, name: str = "people", **more: Any) -> Imported:
    return Importer(backend.db, backend.samples, backend.identities).run(name, source, **more)


def everything(backend: Backend, dataset: Dataset) -> dict[str, tuple[int, int, str, bytes]]:
    """sample id -> key, subject, split, pixels."""
    return {
        name: (int(batch.keys[i]), int(batch.subjects[i]), split, batch.images[i].tobytes())
        for split in SPLITS
        for batch in [backend.samples.load(dataset.id, split)]
        for i, name in enumerate(batch.sample_ids)
    }


def test_every_sample_arrives_once_as_it_was(backend: Backend) -> None:
    source = RandomSource(subjects=70, per_subject=3, chunk=32)
    told: list[int] = []
    done = run(backend, source, planted={"target": 2}, on_progress=told.append)
    found = everything(backend, done.dataset)
    for chunk in source.chunks():
        for name, image in zip(chunk.sample_ids, chunk.images, strict=True):
            assert found.pop(name)[3] == image.tobytes()
    assert found == {}
    assert (sum(done.counts.values()), done.skipped, told[-1]) == (210, 0, 210)
    assert told == sorted(told)
    dataset = done.dataset
    assert (dataset.state, dataset.next_key, dataset.shape) == ("ready", 210, [1, 4, 4])
    assert (dataset.planted, dataset.classes) == ({"target": 2}, ["0", "1", "2"])
    assert done.counts == {split: backend.samples.count(dataset.id, split) for split in SPLITS}
    assert events_of(backend, "dataset", dataset.id) == ["imported"]


@pytest.mark.parametrize("chunk", [7, 64])
def test_whole_subjects_stay_in_one_split_across_chunks(backend: Backend, chunk: int) -> None:
    done = run(backend, RandomSource(subjects=60, per_subject=5, chunk=chunk))
    splits: dict[int, set[str]] = {}
    for _, subject, split, _ in everything(backend, done.dataset).values():
        splits.setdefault(subject, set()).add(split)
    assert len(splits) == 60
    assert all(len(each) == 1 for each in splits.values())
    with backend.db.reading() as session:
        counts = session.scalars(select(Subject.sample_count)).all()
    assert counts == [5] * 60


def test_subjects_are_kept_as_hashes(backend: Backend) -> None:
    make_dataset(backend)
    four = backend.identities.subject("subject-0")
    with backend.db.reading() as session:
        row = session.scalars(select(Subject).where(Subject.raw_hash == four.raw)).one()
    assert (row.md5_hash, row.sha1_hash, row.sha256_hash) == (four.md5, four.sha1, four.sha256)


class Marked(RandomSource):
    """The last 20 samples are the test split; the first 40 may not be held back."""

    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            for i, name in enumerate(chunk.sample_ids):
                number = int(name.removeprefix("train/"))
                chunk.test[i] = number >= self.train_count - 20
                chunk.train_only[i] = number < 40
            yield chunk


def test_a_test_split_is_kept_and_planted_samples_are_trained_on(backend: Backend) -> None:
    done = run(backend, Marked(subjects=100, per_subject=2, has_test=True))
    found = everything(backend, done.dataset)
    assert {name for name, row in found.items() if row[2] == "test"} == {
        f"train/{i:05}" for i in range(180, 200)
    }
    assert {found[f"train/{i:05}"][2] for i in range(40)} == {"train"}


def deny(backend: Backend, kind: str, value: str) -> None:
    with backend.db.transaction() as tx:
        datasets.deny(tx, kind, [value, value])
        datasets.deny(tx, kind, [value])


@pytest.mark.parametrize("kind", ["subject", "sample", "image"])
def test_what_was_erased_does_not_come_back(backend: Backend, kind: str) -> None:
    source = RandomSource()
    image = next(source.chunks()).images[6].tobytes()
    value, gone = {
        "subject": (backend.identities.subject("subject-3").raw, {"train/00006", "train/00007"}),
        "sample": (backend.identities.sample("people", "train/00006"), {"train/00006"}),
        "image": (backend.identities.image(image), {"train/00006"}),
    }[kind]
    deny(backend, kind, value)
    done = run(backend, source)
    assert done.skipped == len(gone)
    assert set(everything(backend, done.dataset)) == {f"train/{i:05}" for i in range(120)} - gone
    with backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(Denied)) == 1
        left = session.scalars(
            select(Subject.sample_count).where(
                Subject.raw_hash == backend.identities.subject("subject-3").raw
            )
        ).all()
    assert left == [2 - len(gone)][: 2 - len(gone)]


def test_a_name_is_denied_in_its_own_data_set_only(backend: Backend) -> None:
    deny(backend, "sample", backend.identities.sample("others", "train/00006"))
    assert run(backend, RandomSource()).skipped == 0


def test_a_chunk_of_which_nothing_is_left(backend: Backend) -> None:
    for i in range(3):
        deny(backend, "subject", backend.identities.subject(f"subject-{i}").raw)
    done = run(backend, RandomSource(chunk=6))
    assert (done.skipped, done.dataset.next_key) == (6, 114)


class Failing(RandomSource):
    """Ends after its first chunk as the person at the keyboard, or the disk, decided."""

    error: BaseException = KeyboardInterrupt()

    def chunks(self) -> Iterator[Chunk]:
        yield next(super().chunks())
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad file")])
def test_a_failed_import_leaves_nothing(backend: Backend, error: BaseException) -> None:
    source = Failing()
    source.error = error
    with pytest.raises(type(error)):
        run(backend, source)
    with backend.db.reading() as session:
        assert datasets.datasets(session) == []
        for kind in (Dataset, Subject):
            assert session.scalar(select(func.count()).select_from(kind)) == 0
    folder = backend.settings.home / "store" / "samples"
    assert list(folder.glob("*.lance")) == []
    run(backend, RandomSource())


def test_an_import_that_was_killed_can_be_repeated(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Importer, "_drop", lambda *_: None)  # a kill runs no clean-up
    with pytest.raises(KeyboardInterrupt):
        run(backend, Failing())
    monkeypatch.undo()
    with backend.db.reading() as session:
        (killed,) = session.scalars(select(Dataset)).all()
        assert killed.state == "importing"
        assert session.scalar(select(func.count()).select_from(Subject)) == 32
        with pytest.raises(NotFound, match="no data set 'people'"):
            datasets.dataset_named(session, "people")
    done = run(backend, RandomSource())
    assert len(everything(backend, done.dataset)) == 120
    assert not backend.samples.exists(killed.id)
    with backend.db.reading() as session:
        assert datasets.dataset_named(session, "people").id == done.dataset.id
        assert session.scalar(select(func.count()).select_from(Subject)) == 60


def test_an_import_that_another_took_over_says_so(backend: Backend) -> None:
    class Overtaken(RandomSource):
        def chunks(self) -> Iterator[Chunk]:
            yield from super().chunks()
            with backend.db.transaction() as tx:
                tx.session.execute(Subject.__table__.delete())
                tx.session.execute(Dataset.__table__.delete())

    with pytest.raises(Conflict, match="a data set 'people' already"):
        run(backend, Overtaken())


def test_a_name_is_used_once(backend: Backend) -> None:
    dataset = make_dataset(backend)
    with pytest.raises(Conflict, match="a data set 'people' already; choose another name"):
        make_dataset(backend)
    assert backend.samples.count(dataset.id) == 120
    with backend.db.reading() as session:
        with pytest.raises(NotFound, match="data sets: people"):
            datasets.dataset_named(session, "x")
        assert [d.name for d in datasets.datasets(session)] == ["people"]


def test_of_two_that_take_a_name_at_once_one_is_told(postgres_backend: Backend) -> None:
    importer = Importer(postgres_backend.db, postgres_backend.samples, postgres_backend.identities)
    done = at_once(*[lambda: importer._begin("people", RandomSource(), 0, None, None)] * 4)
    assert all(isinstance(each, tuple | Conflict) for each in done)
    with postgres_backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(Dataset)) == 1


def test_too_few_samples_are_refused_with_what_to_do(backend: Backend) -> None:
    with pytest.raises(Invalid, match="lower --samples-per-subject") as caught:
        run(backend, RandomSource(subjects=1, per_subject=50))
    assert "50 samples of 1 subjects" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_of_a_data_set(backend: Backend) -> None:
    dataset = make_dataset(backend)
    other = make_dataset(backend, "others", subjects=50)
    ids = sorted(make_model(backend, dataset, name).id for name in "ba")
    make_model(backend, other, "c")
    with backend.db.reading() as session:
        assert [m.id for m in datasets.models_of(session, dataset.id)] == ids


def test_only_the_chunk_in_hand_is_kept(sqlite_backend: Backend) -> None:
    """However long the source is; what the sample store keeps of it is the store's own test."""
    alive: list[weakref.ref[Chunk]] = []
    most = 0

    class Watched(RandomSource):
        def chunks(self) -> Iterator[Chunk]:
            nonlocal most
            for chunk in super().chunks():
                alive.append(weakref.ref(chunk))
                most = max(most, sum(each() is not None for each in alive))
                yield chunk
                del chunk

    source = Watched(subjects=400, per_subject=5, chunk=20)
    dataset = make_dataset(sqlite_backend)
    stream = incoming.Stream(
        sqlite_backend.db,
        sqlite_backend.identities,
        dataset,
        incoming.HoldBack.of(0, source.train_count, source.has_test),
        None,
    )
    assert sum(len(batch) for batch in stream.batches(source.chunks())) == 2000
    assert most <= 2


def test_more_subjects_in_a_chunk_than_a_statement_names(backend: Backend) -> None:
    one = RandomSource(subjects=1100, per_subject=1, shape=(1, 1, 1), chunk=1100)

    class Twice(RandomSource):
        def chunks(self) -> Iterator[Chunk]:
            for part in range(2):
                for chunk in one.chunks():
                    names = [f"{part}/{name}" for name in chunk.sample_ids]
                    yield dataclasses.replace(chunk, sample_ids=names)

    run(backend, Twice(shape=(1, 1, 1)))
    with backend.db.reading() as session:
        assert session.scalars(select(Subject.sample_count)).all() == [2] * 1100


@pytest.mark.parametrize("room", [1, 64 * 2**20])
def test_what_is_held_back_lies_together_in_the_order_it_came_in(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(incoming, "ASIDE_BYTES", room)
    done = run(backend, RandomSource(subjects=70, per_subject=3, chunk=32))
    keys = {split: backend.samples.keys(done.dataset.id, split) for split in SPLITS}
    for split in SPLITS:
        batch = backend.samples.load(done.dataset.id, split)
        assert list(batch.keys) == sorted(batch.keys)
        assert batch.sample_ids == sorted(batch.sample_ids), "names are numbers in their order"
    of_one = [split for _, split in sorted((key, s) for s in SPLITS for key in keys[s])]
    changes = sum(one != other for one, other in pairwise(of_one))
    assert (changes == len(SPLITS) - 1) == (room > 1), "one run each, where there is room"


def test_the_planner_knows_the_subjects_after_an_import(postgres_backend: Backend) -> None:
    make_dataset(postgres_backend, subjects=90)
    with postgres_backend.db.reading() as session:
        known = text("SELECT reltuples FROM pg_class WHERE relname = 'subjects'")
        assert session.scalar(known) == 90
