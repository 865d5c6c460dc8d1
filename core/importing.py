"""Importing a data set: once, in a stream, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import canaries, datasets
from core.db import Database
from core.errors import Conflict, Invalid
from core.identities import Identities
from core.ids import new_id
from core.names import check_name
from core.records import CanaryGroup, Dataset, Denied, Subject
from core.samples import SPLIT_CODE, SPLITS, SampleBatch, SampleStore, Split


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
class Imported:
    """What an import did. `skipped` had been erased before and were refused."""

    dataset: Dataset
    counts: dict[str, int]
    skipped: int


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
        """A tenth is held back, three tenths under 10,000 samples; half R, half H."""
        half = 0.05 if train_count >= 10_000 else 0.15
        return cls(seed, half, half, 0.0 if has_test else 0.1)

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


class Importer:
    """Streams a source into the sample store, chunk by chunk, in bounded memory."""

    def __init__(self, db: Database, samples: SampleStore, identities: Identities) -> None:
        self._db = db
        self._samples = samples
        self._identities = identities

    def run(
        self,
        name: str,
        source: Source,
        *,
        seed: int = 0,
        planted: dict[str, Any] | None = None,
        canary_plan: canaries.Plan | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Imported:
        """Import a new data set; a failed import leaves nothing behind.

        `planted` describes a trigger that the source planted; `canary_plan` asks for canaries,
        which come after the samples of the source.

        Raises `Conflict` when the name is taken, `Invalid` for a name that cannot be one and
        when a split would be empty.
        """
        dataset, groups = self._begin(name, source, seed, planted, canary_plan)
        try:
            self._samples.create(dataset.id, source.shape)
            hold = HoldBack.of(seed, source.train_count, source.has_test)
            stream = _Stream(self._db, self._identities, dataset, hold, on_progress)
            batches = chain(stream.batches(source.chunks()), stream.canaries(groups))
            self._samples.append(dataset.id, batches)
            missing = [s for s in SPLITS if not stream.counts[s]]
            if missing:
                raise Invalid(
                    f"no sample would be in {' and '.join(missing)}: {stream.seen} samples of "
                    f"{stream.subjects} subjects are too few, or too many belong to one; "
                    "lower --samples-per-subject or import more"
                )
            with self._db.transaction() as tx:
                ready = tx.session.get(Dataset, dataset.id)
                if ready is None:
                    raise _taken(name)  # another process took this import for a dead one
                ready.state, ready.next_key = "ready", stream.next_key
                tx.record("dataset", dataset.id, "imported", counts=dict(stream.counts))
        except BaseException:  # Ctrl-C too: half a data set is no data set
            self._drop(dataset.id)
            raise
        return Imported(ready, dict(stream.counts), stream.skipped)

    def _begin(
        self,
        name: str,
        source: Source,
        seed: int,
        planted: dict[str, Any] | None,
        canary_plan: canaries.Plan | None,
    ) -> tuple[Dataset, list[CanaryGroup]]:
        check_name(name)
        with self._db.transaction() as tx:
            old = tx.session.scalars(select(Dataset).where(Dataset.name == name)).one_or_none()
            if old is not None and old.state == "ready":
                raise _taken(name)
        if old is not None:  # an import that was killed
            self._drop(old.id)
        with self._db.transaction() as tx:
            dataset = Dataset(
                id=new_id("ds"),
                name=name,
                state="importing",
                shape=list(source.shape),
                classes=source.classes,
                seed=seed,
                planted=planted,
                next_key=0,
                created_at=tx.now,
            )
            tx.session.add(dataset)
            try:
                tx.session.flush()
            except IntegrityError:  # another import took the name in the same moment
                raise _taken(name) from None
            groups = canaries.plant(tx, dataset, canary_plan) if canary_plan else []
        return dataset, groups

    def _drop(self, dataset_id: str) -> None:
        self._samples.drop(dataset_id)
        with self._db.transaction() as tx:
            for owned in (Subject, CanaryGroup):
                tx.session.execute(delete(owned).where(owned.dataset_id == dataset_id))
            tx.session.execute(delete(Dataset).where(Dataset.id == dataset_id))


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a data set {name!r} already; choose another name")


class _Stream:
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
        for chunk in chunks:
            canaries.check_names(chunk.sample_ids)
            self.seen += len(chunk.sample_ids)
            kept = self._allowed(chunk)
            self.skipped += len(chunk.sample_ids) - len(kept)
            if len(kept):
                yield self._batch(chunk, kept)
            if self._on_progress:
                self._on_progress(self.seen)

    def canaries(self, groups: list[CanaryGroup]) -> Iterator[SampleBatch]:
        """Of each group those whose coin says that they are trained on."""
        for group in groups:
            batch = canaries.heads(group, self._dataset, self.next_key)
            self.counts["train"] += len(batch)
            self.next_key += len(batch)
            yield batch

    def _batch(self, chunk: Chunk, kept: NDArray[np.int64]) -> SampleBatch:
        names = [chunk.subjects[i] for i in kept]
        splits: list[Split] = [
            "test" if chunk.test[i] else "train" if chunk.train_only[i] else self._hold.split(name)
            for i, name in zip(kept, names, strict=True)
        ]
        for split in splits:
            self.counts[split] += 1
        keys = np.arange(self.next_key, self.next_key + len(kept), dtype=np.int64)
        self.next_key += len(kept)
        return SampleBatch(
            keys=keys,
            sample_ids=[chunk.sample_ids[i] for i in kept],
            subjects=self._numbers(names),
            labels=chunk.labels[kept].astype(np.int32),
            splits=np.array([SPLIT_CODE[split] for split in splits], dtype=np.int8),
            images=chunk.images[kept],
        )

    def _numbers(self, names: list[str]) -> NDArray[np.int64]:
        """The numbers of these subjects, new ones made, each counted once for each sample."""
        counts: dict[str, int] = {}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        hashes = {name: self._identities.subject(name) for name in counts}
        with self._db.transaction() as tx:
            known = self._known(tx.session, [four.raw for four in hashes.values()])
            made = {}
            for name, count in counts.items():
                four = hashes[name]
                number = known.get(four.raw)
                if number is None:
                    made[name] = Subject(
                        dataset_id=self._dataset.id,
                        raw_hash=four.raw,
                        md5_hash=four.md5,
                        sha1_hash=four.sha1,
                        sha256_hash=four.sha256,
                        sample_count=count,
                    )
                else:
                    tx.session.execute(
                        update(Subject)
                        .where(Subject.id == number)
                        .values(sample_count=Subject.sample_count + count)
                    )
            tx.session.add_all(made.values())
            tx.session.flush()
            self.subjects += len(made)
            numbers = {name: subject.id for name, subject in made.items()}
            numbers |= {n: known[h.raw] for n, h in hashes.items() if h.raw in known}
        return np.array([numbers[name] for name in names], dtype=np.int64)

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
