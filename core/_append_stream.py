"""The samples of an append on their way in; see core.appending."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select, update

from core import audit, datasets, registry, rotation
from core.db import Database, Transaction
from core.errors import Conflict, Invalid
from core.identities import Identities
from core.incoming import Chunk, HoldBack, Source, Stream, add_subjects
from core.records import Dataset, Denied, ErasureRequest, Job, Subject
from core.samples import SPLITS, SampleBatch, SampleStore, Split
from core.states import REQUEST_OPEN

APPENDED = "appended"
"""The audit event; its `digest` tells a repeated append from a new one."""


class Repeated(Exception):
    """This very append was done before; carries its event's data."""

    def __init__(self, event: dict[str, Any]) -> None:
        super().__init__()
        self.event = event


class AppendStream(Stream):
    """One append under way: its samples on their way in, and the database's part at its end."""

    def __init__(
        self,
        db: Database,
        samples: SampleStore,
        identities: Identities,
        dataset: Dataset,
        source: Source,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        already = samples.count(dataset.id) - samples.count(dataset.id, "test")
        # T stays what it is: versions are compared on it.
        hold = HoldBack.of(dataset.seed, already + source.train_count, has_test=True)
        super().__init__(db, identities, dataset, hold, on_progress)
        self._samples, self._source = samples, source
        self._labels = np.array([dataset.classes.index(c) for c in source.classes], np.int64)
        self._first = self.next_key = dataset.next_key
        self.left_out = 0
        self._digest = hashlib.sha256()
        self._ids: set[str] = set()
        self._taken: list[str] = []
        self._counts_of: dict[int, int] = {}
        self._new: list[int] = []
        with db.reading() as session:
            self._denied = session.scalar(select(func.count()).select_from(Denied))
            self._asking = set(
                session.scalars(select(ErasureRequest.subject_hash).where(*self._open()))
            )

    def all(self, until_committed: ExitStack) -> Iterator[SampleBatch]:
        """Every batch; then the database's part, in a transaction that stays open on the stack.

        What stands against the append is raised here, before the sample store commits.
        """
        yield from self.batches(self._training())
        tx = until_committed.enter_context(self._db.transaction())
        self._finish(tx)

    def _training(self) -> Iterator[Chunk]:
        """The training samples under the data set's labels; none any more once an id is taken."""
        for chunk in self._source.chunks():
            chosen = np.flatnonzero(~chunk.test)
            self.left_out += len(chunk.test) - len(chosen)
            part = Chunk(
                sample_ids=[chunk.sample_ids[i] for i in chosen],
                subjects=[chunk.subjects[i] for i in chosen],
                labels=self._labels[chunk.labels[chosen]],
                images=chunk.images[chosen],
                test=chunk.test[chosen],
                train_only=chunk.train_only[chosen],
            )
            self._note(part)
            if not self._taken:
                yield part

    def _note(self, chunk: Chunk) -> None:
        """Remember ids, and what tells this append from others."""
        for i, (sample_id, subject) in enumerate(
            zip(chunk.sample_ids, chunk.subjects, strict=True)
        ):
            if sample_id in self._ids:
                raise Invalid(f"sample id {sample_id!r} comes twice; each must be unique")
            self._ids.add(sample_id)
            about = audit.canonical([sample_id, subject, int(chunk.labels[i])])
            self._digest.update(hashlib.sha256(about).digest())
            self._digest.update(hashlib.sha256(chunk.images[i].tobytes()).digest())
        there = self._samples.find_sample_ids(self._dataset.id, chunk.sample_ids)
        self._taken += [name for name in chunk.sample_ids if name in there]

    def _allowed(self, chunk: Chunk) -> NDArray[np.int64]:
        """Indices of the samples that were not erased before and that nobody asks to erase."""
        kept = super()._allowed(chunk)
        if not self._asking:
            return kept
        hashes = [self._identities.subject(chunk.subjects[i]).raw for i in kept]
        return kept[np.array([each not in self._asking for each in hashes], dtype=np.bool_)]

    def _splits_of(self, numbers: NDArray[np.int64]) -> dict[int, Split]:
        """Where the samples are that these subjects have in the data set already.

        Where they are in several splits (a planted trigger's), the one that is trained on wins.
        """
        found = self._samples.find_subject(self._dataset.id, np.unique(numbers).tolist())
        splits: dict[int, Split] = {}
        for code in reversed(range(len(SPLITS))):
            of_code = np.unique(found.subjects[found.splits == code])
            splits |= dict.fromkeys(of_code.tolist(), SPLITS[code])
        return splits

    def _numbers(self, names: list[str]) -> NDArray[np.int64]:
        """The numbers of these subjects; new ones get a row that counts nothing yet."""
        hashes = {name: self._identities.subject(name) for name in dict.fromkeys(names)}
        with self._db.transaction() as tx:
            known = self._known(tx.session, [four.raw for four in hashes.values()])
            new = {four: 0 for four in hashes.values() if four.raw not in known}
            made = add_subjects(tx.session, self._dataset.id, new)
        self._new += made.values()
        known |= made
        numbers = [known[hashes[name].raw] for name in names]
        for number in numbers:
            self._counts_of[number] = self._counts_of.get(number, 0) + 1
        return np.array(numbers, dtype=np.int64)

    def _finish(self, tx: Transaction) -> None:
        """Make the append so, in this transaction, or raise what stands against it."""
        of_it = datasets.models_of(tx.session, self._dataset.id)
        for model in of_it:
            registry.lock_model(tx, model.id)  # no request comes in meanwhile
        rotation.check(tx.session, self._identities)
        dataset = datasets.locked(tx, self._dataset.id)
        digest = self._identities.body(self._digest.digest())
        for event in audit.history(tx.session, "dataset", dataset.id):
            if event.event == APPENDED and event.data["digest"] == digest:
                raise Repeated(event.data)
        if self._taken:
            shown = ", ".join(self._taken[:5]) + (" ..." if len(self._taken) > 5 else "")
            raise Conflict(
                f"data set {dataset.name!r} has {len(self._taken)} of these sample ids already: "
                f"{shown}. Nothing was appended; name new samples anew, with --prefix say"
            )
        if self._disturbed(tx, dataset, [model.id for model in of_it]):
            raise Conflict(
                f"data set {dataset.name!r} was changed by an erasure or by another append "
                "meanwhile. Nothing was appended; run it again"
            )
        dataset.next_key = self.next_key
        tx.record(
            "dataset",
            dataset.id,
            APPENDED,
            counts=dict(self.counts),
            skipped=self.skipped,
            left_out=self.left_out,
            digest=digest,
        )
        tx.session.flush()

    def _disturbed(self, tx: Transaction, dataset: Dataset, model_ids: list[str]) -> bool:
        """Did anything happen since the start that this append did not reckon with?"""
        if dataset.next_key != self._first:
            return True
        destroying = select(Job.id).where(Job.model_id.in_(model_ids), Job.state == "destroying")
        if tx.session.scalars(destroying).first() is not None:
            return True
        asked = set(tx.session.scalars(select(ErasureRequest.subject_id).where(*self._open())))
        if asked & self._counts_of.keys():
            return True
        if tx.session.scalar(select(func.count()).select_from(Denied)) != self._denied:
            return True
        return self._count_subjects(tx) != len(self._counts_of)

    def _count_subjects(self, tx: Transaction) -> int:
        """Count the new samples with their subjects; returns how many of these were there."""
        by_count: dict[int, list[int]] = {}
        for number, count in self._counts_of.items():
            by_count.setdefault(count, []).append(number)
        there = 0
        for count, numbers in by_count.items():
            for start in range(0, len(numbers), 500):
                done = tx.session.execute(
                    update(Subject)
                    .where(Subject.id.in_(numbers[start : start + 500]))
                    .values(sample_count=Subject.sample_count + count)
                    .execution_options(synchronize_session=False)
                )
                there += int(done.rowcount)  # type: ignore[attr-defined]  # an UPDATE's result has it
        return there

    def _open(self) -> tuple[Any, ...]:
        """What an open request of the data set by a subject is."""
        return (
            ErasureRequest.dataset_id == self._dataset.id,
            ErasureRequest.subject_hash.is_not(None),
            ErasureRequest.state.in_(REQUEST_OPEN),
        )

    def forget_new_subjects(self) -> None:
        """Drop the rows of subjects that this append numbered and that own no sample."""
        with self._db.transaction() as tx:
            for start in range(0, len(self._new), 500):
                part = self._new[start : start + 500]
                tx.session.execute(
                    delete(Subject).where(Subject.id.in_(part), Subject.sample_count == 0)
                )
