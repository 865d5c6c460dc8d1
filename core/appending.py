"""Appending to a data set: new samples, all of them or none, and never what was erased.

Samples lie in one store and their subjects in another. The sample store's commit happens inside
the database transaction that moves the data set's `next_key` past the new samples, while that
transaction holds the data set's row. Whoever is killed between the two commits leaves samples
whose keys are not under `next_key`: no reader trains on those, and `settle` removes them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from core import datasets
from core._append_stream import AppendStream, Repeated
from core.db import Database
from core.errors import Invalid
from core.identities import Identities
from core.incoming import Source
from core.records import Dataset, Subject
from core.samples import SampleStore


@dataclass(frozen=True)
class Appended:
    """What an append did.

    skipped: samples refused because they, or their subjects, were erased or are about to be.
    left_out: samples of the source's own test split. repeated: this very append had been done
    before, and nothing was done now.
    """

    dataset: Dataset
    counts: dict[str, int]
    skipped: int
    left_out: int
    repeated: bool


class Appender:
    """Streams new samples into a data set that is there."""

    def __init__(self, db: Database, samples: SampleStore, identities: Identities) -> None:
        self._db, self._samples, self._identities = db, samples, identities

    def run(
        self, name: str, source: Source, *, on_progress: Callable[[int], None] | None = None
    ) -> Appended:
        """Append the source's training samples; a failed append leaves nothing behind.

        A subject who is in the data set already stays in one split; new ones are held back for
        R and H by the shares of an import. No sample that is there changes its split, and a
        version does not see the new ones until it is retrained. Running the same append again
        changes nothing.

        Raises `NotFound`; `Invalid` for another shape, an unknown class, or a sample id twice;
        `Conflict` when ids are taken, or something came in between: then run it again.
        """
        with self._db.reading() as session:
            dataset = datasets.dataset_named(session, name)
        _check(dataset, source)
        dataset = settle(self._db, self._samples, dataset.id, abandoned=True)
        stream = AppendStream(
            self._db, self._samples, self._identities, dataset, source, on_progress
        )
        try:
            with ExitStack() as until_committed:
                self._samples.append(dataset.id, stream.all(until_committed))
        except Repeated as repeated:
            found = repeated.event
            stream.forget_new_subjects()
            return Appended(dataset, found["counts"], found["skipped"], found["left_out"], True)
        except BaseException:  # Ctrl-C too
            with suppress(SQLAlchemyError):  # else `settle` does it another time
                stream.forget_new_subjects()
                settle(self._db, self._samples, dataset.id)
            raise
        return Appended(
            dataset, dict(stream.counts), stream.skipped, stream.left_out, repeated=False
        )


def settle(
    db: Database, samples: SampleStore, dataset_id: str, *, abandoned: bool = False
) -> Dataset:
    """Remove what an append that was killed left behind; returns the data set as it is.

    abandoned: also the subjects that it had numbered. An append at work then ends in `Conflict`.
    """
    with db.transaction() as tx:
        dataset = datasets.locked(tx, dataset_id)
        left = samples.keys_from(dataset_id, dataset.next_key)
        if len(left):
            samples.delete(dataset_id, left.tolist())
        if abandoned:
            empty = (Subject.dataset_id == dataset_id, Subject.sample_count == 0)
            tx.session.execute(delete(Subject).where(*empty))
    if len(left):
        samples.purge(dataset_id)
    return dataset


def _check(dataset: Dataset, source: Source) -> None:
    if list(source.shape) != dataset.shape:
        given, wanted = (" x ".join(map(str, shape)) for shape in (source.shape, dataset.shape))
        raise Invalid(
            f"images of {given} do not fit into data set {dataset.name!r}, whose are {wanted} "
            "(channels x height x width); resize or convert them"
        )
    unknown = [name for name in source.classes if name not in dataset.classes]
    if unknown:
        raise Invalid(
            f"data set {dataset.name!r} has no class {', '.join(map(repr, unknown[:5]))}; its "
            f"classes: {', '.join(dataset.classes[:20])}. New classes need a new data set"
        )
