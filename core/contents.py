"""What a data set holds: classes, splits, subjects and their sizes; and what was erased of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core import datasets
from core.records import Dataset, ErasureRequest, Job, Subject
from core.samples import SPLITS, SampleStore, Split


@dataclass(frozen=True)
class ClassCount:
    """Samples of one class that are there now, by split."""

    name: str
    label: int
    by_split: dict[Split, int]

    @property
    def total(self) -> int:
        """Of every split."""
        return sum(self.by_split.values())


@dataclass(frozen=True)
class Samples:
    """What the sample store holds of a data set.

    there: samples now, canaries included. erased: those that were there once and are no more.
    """

    classes: list[ClassCount]
    there: int
    erased: int

    def of_split(self, split: Split) -> int:
        """Samples of one split."""
        return sum(each.by_split[split] for each in self.classes)


@dataclass(frozen=True)
class Sizes:
    """How many subjects there are, and how many samples each has.

    by_size: the number of subjects with so many samples, smallest first.
    """

    subjects: int
    samples: int
    by_size: list[tuple[int, int]]

    @property
    def median(self) -> int:
        """Samples of the subject in the middle; 0 where there is none."""
        seen = 0
        for size, subjects in self.by_size:
            seen += subjects
            if 2 * seen >= self.subjects:
                return size
        return 0


@dataclass(frozen=True)
class ErasedBy:
    """One job that destroyed samples of the data set: how many, and when it was done."""

    job_id: str
    model_id: str
    samples: int
    finished_at: datetime | None


def samples_of(store: SampleStore, dataset: Dataset) -> Samples:
    """Counted in the sample store: one scan of the labels for each split."""
    counts = {split: store.class_counts(dataset.id, split) for split in SPLITS}
    classes = [
        ClassCount(name, label, {split: counts[split].get(label, 0) for split in SPLITS})
        for label, name in enumerate(dataset.classes)
    ]
    there = sum(each.total for each in classes)
    # Every sample got a number of its own, and no number is given twice.
    return Samples(classes, there, max(0, dataset.next_key - there))


def sizes_of(session: Session, dataset: Dataset) -> Sizes:
    """From the subjects' rows, which know how many samples each has."""
    query = (
        select(Subject.sample_count, func.count())
        .where(Subject.dataset_id == dataset.id)
        .group_by(Subject.sample_count)
        .order_by(Subject.sample_count)
    )
    by_size = [(size, count) for size, count in session.execute(query)]
    return Sizes(
        subjects=sum(count for _, count in by_size),
        samples=sum(size * count for size, count in by_size),
        by_size=by_size,
    )


def subjects(
    session: Session, dataset: Dataset, *, after: tuple[int, int] | None = None, limit: int = 50
) -> list[Subject]:
    """Subjects, those with the most samples first; after: sample count and number of the last."""
    query = select(Subject).where(Subject.dataset_id == dataset.id)
    if after is not None:
        size, number = after
        fewer = Subject.sample_count < size
        same = (Subject.sample_count == size) & (Subject.id < number)
        query = query.where(Subject.sample_count <= size, or_(fewer, same))
    order = Subject.sample_count.desc(), Subject.id.desc()
    return list(session.scalars(query.order_by(*order).limit(limit)))


def outcomes(session: Session, dataset: Dataset) -> dict[str, int]:
    """How many requests about the data set have ended, by outcome."""
    query = (
        select(ErasureRequest.outcome, func.count())
        .where(ErasureRequest.dataset_id == dataset.id, ErasureRequest.outcome.is_not(None))
        .group_by(ErasureRequest.outcome)
    )
    return {str(outcome): count for outcome, count in session.execute(query)}


def erased_by(session: Session, dataset: Dataset, *, limit: int = 20) -> list[ErasedBy]:
    """The last jobs that destroyed samples of the data set, newest first."""
    models = [model.id for model in datasets.models_of(session, dataset.id)]
    destroyed = Job.destruction["samples"]["samples"].as_integer()
    query = (
        select(Job.id, Job.model_id, destroyed, Job.finished_at)
        .where(Job.model_id.in_(models), Job.state == "succeeded", destroyed > 0)
        .order_by(Job.id.desc())
        .limit(limit)
    )
    return [ErasedBy(*found) for found in session.execute(query)]
