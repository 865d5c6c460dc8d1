"""Samples on their way into a data set: in chunks, numbered, put in splits, the denied left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from core import canaries, datasets
from core.db import Database
from core.identities import Identities, SubjectHashes
from core.records import CanaryGroup, Dataset, Denied, Subject
from core.samples import SPLIT_CODE, SPLITS, SampleBatch, Split, pick

MOST_HELD = 10_000
"""Samples that R, H and T have at most, about: a job reads them all, and no gate can use more."""


ASIDE_BYTES = 64 * 2**20
"""Pixels of held-back samples that an import keeps in memory, to write them side by side."""


@dataclass(frozen=True)
class Chunk:
    """Some samples on their way in.

    images: uint8 [N, C, H, W]; labels: int [N]; `subjects` are plain identifiers, used here
    once and kept only as keyed hashes; `test` marks the test split [N]; `train_only` the
    samples that may not be held back [N] (planted ones, whose subject would contaminate R).
    """

    sample_ids: list[str]
    subjects: list[str]
    labels: NDArray[np.int64]
    images: NDArray[np.uint8]
    test: NDArray[np.bool_]
    train_only: NDArray[np.bool_]


class Source(Protocol):
    """Where samples come from."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of every image."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""

    @property
    def train_count(self) -> int:
        """Samples outside the test split; decides how many are held back."""

    @property
    def has_test(self) -> bool:
        """Is there a test split?"""

    def chunks(self) -> Iterator[Chunk]:
        """The samples, in their order."""


@dataclass(frozen=True)
class HoldBack:
    """Shares of the training split that are never trained on.

    A subject's samples go to one split together: an erasure then either needs unlearning or
    touches only held-back samples, and held-out people are as unseen as the erased one ought
    to be. The choice hashes (seed, subject), so that an import can stream.
    """

    seed: int
    reference: float
    heldout: float
    test: float

    @classmethod
    def of(cls, seed: int, train_count: int, has_test: bool) -> HoldBack:
        """A tenth is held back, three tenths under 10,000 samples; half R, half H.

        Of very many samples less: as much as a job should look at, see MOST_HELD.
        """
        most = MOST_HELD / max(train_count, 1)
        half = min(0.05 if train_count >= 10_000 else 0.15, most)
        return cls(seed, half, half, 0.0 if has_test else min(0.1, most))

    def split(self, subject: str) -> Split:
        """The split of every sample of this subject that may be held back."""
        digest = hashlib.sha256(f"{self.seed}\0{subject}".encode()).digest()
        u = int.from_bytes(digest[:8], "big") / 2**64
        bounds: list[tuple[Split, float]] = [
            ("reference", self.reference),
            ("heldout", self.heldout),
            ("test", self.test),
        ]
        for name, share in bounds:
            if u < share:
                return name
            u -= share
        return "train"


class Stream:
    """One import under way: numbers subjects, assigns splits, drops what is denied."""

    def __init__(
        self,
        db: Database,
        identities: Identities,
        dataset: Dataset,
        hold: HoldBack,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.next_key = 0
        self.seen = self.skipped = self.subjects = 0
        self._db, self._identities, self._dataset, self._hold = db, identities, dataset, hold
        self._on_progress = on_progress

    def batches(self, chunks: Iterable[Chunk]) -> Iterator[SampleBatch]:
        """The samples with their keys. Those that are held back come last, by split, or as soon
        as they are `ASIDE_BYTES`: a job reads all of R, H and T, and finds them side by side.
        """
        aside: list[SampleBatch] = []
        for chunk in chunks:
            canaries.check_names(chunk.sample_ids)
            self.seen += len(chunk.sample_ids)
            kept = self._allowed(chunk)
            self.skipped += len(chunk.sample_ids) - len(kept)
            if len(kept):
                batch = self._batch(chunk, kept)
                trained_on = batch.splits == SPLIT_CODE["train"]
                yield self._numbered(pick(batch, np.flatnonzero(trained_on)))
                aside.append(pick(batch, np.flatnonzero(~trained_on)))
                if sum(part.images.nbytes for part in aside) >= ASIDE_BYTES:
                    yield self._numbered(_together(aside))
                    aside.clear()
            if self._on_progress:
                self._on_progress(self.seen)
        if aside:
            yield self._numbered(_together(aside))

    def canaries(self, groups: list[CanaryGroup]) -> Iterator[SampleBatch]:
        """Of each group those whose coin says that they are trained on."""
        for group in groups:
            batch = canaries.heads(group, self._dataset, self.next_key)
            self.counts["train"] += len(batch)
            self.next_key += len(batch)
            yield batch

    def _numbered(self, batch: SampleBatch) -> SampleBatch:
        keys = np.arange(self.next_key, self.next_key + len(batch), dtype=np.int64)
        self.next_key += len(batch)
        return replace(batch, keys=keys)

    def _batch(self, chunk: Chunk, kept: NDArray[np.int64]) -> SampleBatch:
        """These samples in their splits; their keys are not given yet."""
        names = [chunk.subjects[i] for i in kept]
        numbers = self._numbers(names)
        known = self._splits_of(numbers)
        held = {name: self._hold.split(name) for name in set(names)}
        splits: list[Split] = [
            "test"
            if chunk.test[i]
            else "train"
            if chunk.train_only[i]
            else known.get(int(number)) or held[name]
            for i, name, number in zip(kept, names, numbers, strict=True)
        ]
        for split in splits:
            self.counts[split] += 1
        return SampleBatch(
            keys=np.zeros(len(kept), np.int64),
            sample_ids=[chunk.sample_ids[i] for i in kept],
            subjects=numbers,
            labels=chunk.labels[kept].astype(np.int32),
            splits=np.array([SPLIT_CODE[split] for split in splits], dtype=np.int8),
            images=chunk.images[kept],
        )

    def _splits_of(self, numbers: NDArray[np.int64]) -> dict[int, Split]:  # noqa: ARG002  # see appends
        """Where the samples are that these subjects have already; a new data set has none."""
        return {}

    def _numbers(self, names: list[str]) -> NDArray[np.int64]:
        """The numbers of these subjects, new ones made, each counted once for each sample."""
        counts = Counter(names)
        hashes = {name: self._identities.subject(name) for name in counts}
        with self._db.transaction() as tx:
            known = self._known(tx.session, [four.raw for four in hashes.values()])
            again = [
                {"number": known[four.raw], "more": counts[name]}
                for name, four in hashes.items()
                if four.raw in known
            ]
            if again:
                tx.session.connection().execute(_COUNT_MORE, again)
            new = {four: counts[name] for name, four in hashes.items() if four.raw not in known}
            known |= add_subjects(tx.session, self._dataset.id, new)
            self.subjects += len(new)
        return np.array([known[hashes[name].raw] for name in names], dtype=np.int64)

    def _known(self, session: Session, raw_hashes: list[str]) -> dict[str, int]:
        """Numbers of the subjects that are in the data set already, by their hash."""
        known: dict[str, int] = {}
        for part in datasets.parts(raw_hashes):
            query = select(Subject.raw_hash, Subject.id).where(
                Subject.dataset_id == self._dataset.id, Subject.raw_hash.in_(part)
            )
            known |= dict(session.execute(query).all())
        return known

    def _allowed(self, chunk: Chunk) -> NDArray[np.int64]:
        """Indices of the samples that were not erased before."""
        with self._db.reading() as session:
            if session.scalars(select(Denied.hash).limit(1)).first() is None:
                return np.arange(len(chunk.sample_ids))
            forms = [
                {
                    self._identities.subject(chunk.subjects[i]).raw,
                    self._identities.sample(self._dataset.name, chunk.sample_ids[i]),
                    self._identities.image(chunk.images[i].tobytes()),
                }
                for i in range(len(chunk.sample_ids))
            ]
            wanted = sorted(set().union(*forms))
            denied = datasets.denied(session, wanted)
        return np.array([i for i, form in enumerate(forms) if not form & denied], dtype=np.int64)


def _together(parts: Sequence[SampleBatch]) -> SampleBatch:
    """One batch, by split, each in the order of the parts."""
    names = [name for part in parts for name in part.sample_ids]
    splits = np.concatenate([part.splits for part in parts])
    whole = SampleBatch(
        keys=np.concatenate([part.keys for part in parts]),
        sample_ids=names,
        subjects=np.concatenate([part.subjects for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        splits=splits,
        images=np.concatenate([part.images for part in parts]),
    )
    return pick(whole, np.argsort(splits, kind="stable"))


_COUNT_MORE = (
    update(Subject)
    .where(Subject.id == bindparam("number"))
    .values(sample_count=Subject.sample_count + bindparam("more"))
)


def add_subjects(
    session: Session, dataset_id: str, new: dict[SubjectHashes, int]
) -> dict[str, int]:
    """Give each of these subjects a row that counts so many samples; numbers by raw hash.

    In one statement, and not as objects: an import makes a million.
    """
    rows = [
        {
            "dataset_id": dataset_id,
            "raw_hash": four.raw,
            "md5_hash": four.md5,
            "sha1_hash": four.sha1,
            "sha256_hash": four.sha256,
            "sample_count": count,
        }
        for four, count in new.items()
    ]
    if not rows:
        return {}
    table = Subject.__table__
    assert isinstance(table, Table)
    made = session.execute(insert(table).returning(table.c.raw_hash, table.c.id), rows)
    return {row.raw_hash: row.id for row in made}
