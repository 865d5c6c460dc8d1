"""Importing a data set: once, in a stream, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from core import canaries
from core.db import Database
from core.errors import Conflict, Invalid
from core.identities import Identities
from core.ids import new_id
from core.incoming import HoldBack, Source, Stream
from core.names import check_name
from core.records import CanaryGroup, Dataset, Subject
from core.samples import SPLITS, SampleStore


@dataclass(frozen=True)
class Imported:
    """What an import did. `skipped` had been erased before and were refused."""

    dataset: Dataset
    counts: dict[str, int]
    skipped: int


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
            stream = Stream(self._db, self._identities, dataset, hold, on_progress)
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
        self._db.gather_statistics(Subject)
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
