"""What a data set holds, counted: no sample is looked at, and nobody is named."""

from __future__ import annotations

from sqlalchemy import select, update

from core import contents, datasets
from core.backend import Backend
from core.contents import ErasedBy, Sizes
from core.records import Dataset, Job, Subject
from tests.factories import make_dataset, make_model, submit
from tests.integration.core.helpers import end, set_job


def test_classes_and_splits_as_the_store_has_them(sqlite_backend: Backend) -> None:
    dataset = make_dataset(sqlite_backend)
    before = contents.samples_of(sqlite_backend.samples, dataset)
    assert [each.name for each in before.classes] == ["0", "1", "2"]
    assert (before.there, before.erased) == (120, 0)
    assert sum(before.of_split(split) for split in ("train", "reference", "heldout", "test")) == 120
    assert before.of_split("train") == sqlite_backend.samples.count(dataset.id, "train")
    assert before.classes[1].total == sqlite_backend.samples.class_counts(dataset.id)[1]
    sqlite_backend.samples.delete(dataset.id, [0, 1, 2])
    after = contents.samples_of(sqlite_backend.samples, dataset)
    assert (after.there, after.erased) == (117, 3)


def sized(backend: Backend, sizes: list[int]) -> Dataset:
    dataset = make_dataset(backend, subjects=60)
    make_dataset(backend, "others", seed=1)
    with backend.db.transaction() as tx:
        found = tx.session.scalars(
            select(Subject).where(Subject.dataset_id == dataset.id).order_by(Subject.id)
        ).all()
        for subject, size in zip(found, [*sizes, *[2] * 60], strict=False):
            subject.sample_count = size
    return dataset


def test_subjects_by_how_many_samples_they_have(backend: Backend) -> None:
    dataset = sized(backend, [9, 4, 9, 1])
    with backend.db.reading() as session:
        sizes = contents.sizes_of(session, dataset)
        pages, after = [], None
        while found := contents.subjects(session, dataset, after=after, limit=7):
            pages.append(found)
            after = found[-1].sample_count, found[-1].id
    assert sizes == Sizes(60, 56 * 2 + 23, [(1, 1), (2, 56), (4, 1), (9, 2)])
    assert sizes.median == 2
    assert Sizes(0, 0, []).median == 0
    listed = [subject for page in pages for subject in page]
    assert [subject.sample_count for subject in listed] == [9, 9, 4, *[2] * 56, 1]
    assert len({subject.id for subject in listed}) == 60


def test_what_was_asked_for_and_what_was_destroyed(backend: Backend) -> None:
    dataset = make_dataset(backend)
    models = [make_model(backend, dataset, name) for name in "ab"]
    for n in range(3):
        submit(backend, f"subject-{n}", model="a")
    submit(backend, "nobody", model="a")
    first = submit(backend, "subject-5", model="a")
    end(backend, first.request.id)
    with backend.db.reading() as session:
        assert contents.outcomes(session, dataset) == {"cancelled": 1, "no_data_found": 1}
        assert contents.erased_by(session, dataset) == []
        job_ids = list(
            session.scalars(select(Job.id).where(Job.state == "queued").order_by(Job.id))
        )
        assert len(datasets.models_of(session, dataset.id)) == 2
    done = {"samples": {"samples": 4}}
    set_job(backend, job_ids[0], state="succeeded", destruction=done)
    set_job(backend, job_ids[1], state="succeeded", destruction={"samples": None})
    set_job(backend, job_ids[2], state="succeeded", destruction=done)
    with backend.db.transaction() as tx:
        tx.session.execute(update(Job).where(Job.state == "succeeded").values(finished_at=tx.now))
    with backend.db.reading() as session:
        found = contents.erased_by(session, dataset)
    assert [each.job_id for each in found] == [job_ids[2], job_ids[0]]
    assert all(isinstance(each, ErasedBy) and each.samples == 4 for each in found)
    assert {each.model_id for each in found} <= {model.id for model in models}
