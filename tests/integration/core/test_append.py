"""Appending: never what is there, was erased, or is to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from core import datasets, jobs, requests
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.incoming import Chunk
from core.records import Job
from core.samples import SPLITS
from core.states import JOB_HELD
from tests.factories import RandomSource, make_dataset, make_model, subject_in, submit
from tests.integration.core.appending import (
    More,
    Renamed,
    append,
    counted,
    more,
    number_of,
    rows,
    whole,
)


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
