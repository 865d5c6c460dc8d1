"""Appends to the usual data set, and what is there afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select

from core.appending import Appended, Appender
from core.backend import Backend
from core.incoming import Chunk
from core.records import Dataset, Subject
from core.samples import SPLITS
from tests.factories import RandomSource


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


class Renamed(More):
    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            yield dataclasses.replace(chunk, sample_ids=[f"x/{n}" for n in chunk.sample_ids])
