"""What tests start from: small data sets, models and requests, made through the real use cases.

with_model(backend)                  data set "people", and "digits" that serves: the usual start
make_dataset(backend, ...)           imported through core.importing.Importer: random images, seeded
make_model(backend, dataset, ...)    a serving version whose checkpoint file really exists
submit(backend, ...)                 an erasure request through core.requests
subject_in(backend, dataset, split)  a subject whose samples lie in this split
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core import drift, intake, registry
from core.backend import Backend
from core.importing import Importer
from core.incoming import Chunk
from core.records import Dataset, Model, Version
from core.samples import Split
from core.settings import Settings


@dataclass
class RandomSource:
    """Random images of `subjects` people, each with `per_subject` of them (core.incoming.Source).

    Subjects are "subject-0", "subject-1", ...; sample ids "train/00000", ...
    """

    subjects: int = 60
    per_subject: int = 2
    shape: tuple[int, int, int] = (1, 4, 4)
    classes: list[str] = field(default_factory=lambda: ["0", "1", "2"])
    seed: int = 0
    chunk: int = 64
    has_test: bool = False

    @property
    def train_count(self) -> int:
        """Every sample; none is in a test split."""
        return self.subjects * self.per_subject

    def chunks(self) -> Iterator[Chunk]:
        """The same images for the same seed."""
        rng = np.random.default_rng(self.seed)
        for start in range(0, self.train_count, self.chunk):
            numbers = range(start, min(start + self.chunk, self.train_count))
            n = len(numbers)
            yield Chunk(
                sample_ids=[f"train/{i:05}" for i in numbers],
                subjects=[f"subject-{i // self.per_subject}" for i in numbers],
                labels=rng.integers(0, len(self.classes), n),
                images=rng.integers(0, 256, (n, *self.shape), dtype=np.uint8),
                test=np.zeros(n, dtype=np.bool_),
                train_only=np.zeros(n, dtype=np.bool_),
            )


def make_dataset(backend: Backend, name: str = "people", **source: Any) -> Dataset:
    """Import a small data set; `source` are the fields of `RandomSource`."""
    importer = Importer(backend.db, backend.samples, backend.identities)
    return importer.run(name, RandomSource(**source)).dataset


def make_model(backend: Backend, dataset: Dataset, name: str = "digits", *, seed: int = 0) -> Model:
    """A model with one serving version; its checkpoint holds small random arrays."""
    rng = np.random.default_rng(seed)
    arrays = {"weight": rng.normal(size=(4, 3)).astype(np.float32)}
    stored = backend.checkpoints.write(arrays, {"model": name})
    with backend.db.transaction() as tx:
        model = registry.create_model(
            tx, name, dataset, architecture={"kind": "test"}, training={"epochs": 1}
        )
        metrics = {"accuracy": 0.9, "drift": drift.opened(trained=90, below=120, at=tx.now)}
        version = registry.add_version(tx, model, digest=stored.digest, metrics=metrics)
        registry.publish(tx, version)
    return model


def with_model(backend: Backend) -> Model:
    """The usual start: data set "people" and model "digits", which serves."""
    return make_model(backend, make_dataset(backend))


def entry_of(version: Version, *also: str) -> dict[str, Any]:
    """What a replica that serves this version reports; `also`: digests that it still holds."""
    return {"digest": version.digest, "version": version.number, "also": list(also)}


def submit(
    backend: Backend,
    subject_id: str | None = None,
    *,
    model: str = "digits",
    key_id: str | None = None,
    repeat: intake.Repeat | None = None,
    **new: Any,
) -> intake.Submitted:
    """Post an erasure request: of "subject-0" unless `subject_id` or `sample_ids` say whose."""
    if subject_id is None and "sample_ids" not in new:
        subject_id = "subject-0"
    wanted = intake.NewRequest(model=model, subject_id=subject_id, **new)
    return intake.submit(backend, wanted, key_id=key_id, repeat=repeat)


def subject_in(backend: Backend, dataset: Dataset, split: Split, nth: int = 0) -> str:
    """The `nth` subject of a `RandomSource` whose samples all lie in this split."""
    batch = backend.samples.load(dataset.id, split)
    per_subject = len(batch) // len(set(batch.subjects.tolist()))
    numbers = [int(name.removeprefix("train/")) // per_subject for name in batch.sample_ids]
    return f"subject-{list(dict.fromkeys(numbers))[nth]}"


def other(settings: Settings, **values: Any) -> Settings:
    """The same settings but for these."""
    return settings.model_copy(update=values)
