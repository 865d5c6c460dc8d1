"""One job under way: its records, its samples, and how it says where it stands."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from core import canaries, datasets, holding, jobs, plots
from core.errors import LeaseLost
from core.holding import Held
from core.records import CanaryGroup, Dataset, ErasureRequest, Job, Model, RequestSample, Version
from core.samples import SPLIT_CODE, Pictures, SampleBatch, Split, TooFewSamples, pick
from unlearning import Cancelled, Samples
from worker.closing import Stopping
from worker.engine import Engine
from worker.heart import Heart

MOST_REMAINING = 60_000
"""Remaining samples that a job takes at most: its cost must not grow with the data set."""

MOST_TESTED = 20_000
"""Samples of T that a job takes at most: 98 % of so many is known to a tenth of a point."""

REPORT_SECONDS = 0.5


@dataclass
class Context:
    """Everything a step needs. Sets are loaded once, when first asked for."""

    engine: Engine
    held: Held
    heart: Heart
    job: Job
    model: Model
    dataset: Dataset
    _reported: float = field(default=0.0)

    @classmethod
    def open(cls, engine: Engine, held: Held, heart: Heart) -> Context:
        """Read the job's records."""
        with engine.backend.db.reading() as session:
            job = session.get_one(Job, held.job_id)
            model = session.get_one(Model, job.model_id)
            return cls(engine, held, heart, job, model, session.get_one(Dataset, model.dataset_id))

    def refresh(self) -> None:
        """Read the job's row again."""
        with self.engine.backend.db.reading() as session:
            self.job = session.get_one(Job, self.held.job_id)

    def stop_if_asked(self) -> None:
        """Raise `LeaseLost`, `Stopping` or `Cancelled` when the job must stop here."""
        self.stop_if_lost()
        if self.heart.cancelled:
            raise Cancelled("the job was cancelled")

    def stop_if_lost(self) -> None:
        """Raise `LeaseLost` or `Stopping`; past publication a cancel comes too late."""
        self.heart.should_stop()
        if self.heart.lost:
            raise LeaseLost(f"job {self.job.id} is held by another worker now")
        if self.heart.closing.over:
            raise Stopping

    def report(self, phase: str, fraction: float, *, now: bool = False, **figures: Any) -> None:
        """Write progress, about twice a second at most; `fraction` is of the whole job."""
        if "remember_loss" in figures:
            self.curves.add(phase, self.job.rung, figures["step"], figures)
        moment = time.monotonic()
        if not now and moment - self._reported < REPORT_SECONDS:
            return
        self._reported = moment
        progress = {**jobs.NO_PROGRESS, **figures, "phase": phase, "fraction": round(fraction, 4)}
        holding.report(self.engine.backend.db, self.held, progress, self.curves)

    @cached_property
    def curves(self) -> plots.Curves:
        """The figures of the job's steps, of earlier holders too."""
        with self.engine.backend.db.reading() as session:
            return plots.curves(session, self.job.id)

    @cached_property
    def requests(self) -> list[ErasureRequest]:
        """The requests that the job carries out."""
        with self.engine.backend.db.reading() as session:
            return jobs.requests_of(session, self.job.id)

    @cached_property
    def base(self) -> Version:
        """The version that is made to forget: the one the job began with."""
        with self.engine.backend.db.reading() as session:
            assert self.job.base_version_id is not None
            return session.get_one(Version, self.job.base_version_id)

    def keys_of(self, requests: list[ErasureRequest]) -> NDArray[np.int64]:
        """Keys, ascending, of the samples that these requests name and of their exact copies.

        A copy is as much the person's picture as the sample that was named, whatever its label
        and whoever it was imported for (G0).
        """
        named = self._named if requests is self.requests else self.named_keys(requests)
        return np.union1d(named, self.engine.backend.samples.copies(self.dataset.id, named))

    def named_keys(self, requests: list[ErasureRequest]) -> NDArray[np.int64]:
        """Keys of the samples that these requests name, ascending."""
        backend = self.engine.backend
        with backend.db.reading() as session:
            named = session.scalars(
                select(RequestSample.key).where(
                    RequestSample.request_id.in_([request.id for request in requests])
                )
            ).all()
        subjects = {r.subject_id for r in requests if r.subject_id is not None}
        found = backend.samples.keys_of_subjects(self.dataset.id, subjects)
        return np.unique(np.concatenate([found, np.array(named, dtype=np.int64)]))

    @cached_property
    def _named(self) -> NDArray[np.int64]:
        return self.named_keys(self.requests)

    @cached_property
    def erased(self) -> SampleBatch:
        """Every sample to erase, of all splits, those already deleted left out."""
        samples = self.engine.backend.samples
        keys = self.keys_of(self.requests)
        return samples.take(self.dataset.id, samples.there(self.dataset.id, keys))

    def samples_with(self, keys: NDArray[np.int64]) -> SampleBatch:
        """The samples with these keys, which ascend and are there. A row never changes: what this
        process has read of the erased samples it does not read again."""
        if (known := self.__dict__.get("erased")) is not None:
            at = np.searchsorted(known.keys, keys)
            if np.array_equal(known.keys[at[at < len(known)]], keys):
                return pick(known, at)
        return self.engine.backend.samples.take(self.dataset.id, keys)

    @cached_property
    def copies(self) -> int:
        """How many of the erased samples nobody named: they are exact copies of others."""
        return len(np.setdiff1d(self.erased.keys, self._named))

    @cached_property
    def erased_train(self) -> Samples:
        """E: the erased samples that the model was trained on."""
        trained_on = self.erased.splits == SPLIT_CODE["train"]
        return to_samples(self.erased, trained_on & (self.erased.keys < self.trained_below))

    @property
    def trained_below(self) -> int:
        """The base was trained on samples with keys below this one; later ones were appended."""
        return int(self.base.metrics["drift"]["below"])

    @cached_property
    def canary_group(self) -> CanaryGroup | None:
        """The canary group that the job erases beside the samples, once it has taken one."""
        with self.engine.backend.db.reading() as session:
            return canaries.of_job(session, self.job.id)

    @cached_property
    def canaries(self) -> SampleBatch | None:
        """The canaries of the job's group that were trained on and still exist."""
        if self.canary_group is None:
            return None
        samples, name = self.engine.backend.samples, self.dataset.id
        keys = samples.keys_of_subjects(name, [canaries.subject_of(self.canary_group.number)])
        return samples.take(name, keys)

    @cached_property
    def to_forget(self) -> Samples:
        """E and the canaries of the job's group: all that the candidate must not remember."""
        planted = self.canaries
        if planted is None or not len(planted):
            return self.erased_train
        return Samples.concat(self.erased_train, to_samples(planted))

    @cached_property
    def pending_keys(self) -> NDArray[np.int64]:
        """Keys that any open request of the data set names, and the canaries of this job's group.

        None of them may be remembered.
        """
        with self.engine.backend.db.reading() as session:
            pending = datasets.open_requests(session, self.dataset.id)
        mine = {request.id for request in self.requests}
        others = [request for request in pending if request.id not in mine]
        named = self.erased.keys
        if others:
            named = np.union1d(self.keys_of(others), named)
        return named if self.canaries is None else np.union1d(named, self.canaries.keys)

    @cached_property
    def remaining(self) -> Samples:
        """D_r: all remaining samples that the base was trained on, or a random part of them."""
        samples, name, without = self.engine.backend.samples, self.dataset.id, self.pending_keys
        if samples.more_than(name, MOST_REMAINING + len(without), "train"):
            with suppress(TooFewSamples):  # appended ones, which the base has not seen, are no part
                return to_samples(
                    samples.take_random(
                        name,
                        "train",
                        MOST_REMAINING,
                        seed=self.job.seed,
                        exclude=without,
                        below=self.trained_below,
                    )
                )
        batch = samples.load(name, "train", exclude=without)
        return to_samples(before(batch, self.trained_below))

    def split(self, split: Split) -> Samples:
        """A split without what any open request names, as it was when the job was taken up."""
        batch = self.engine.backend.samples.load(self.dataset.id, split, exclude=self.pending_keys)
        return to_samples(before(batch, self.dataset.next_key))

    @cached_property
    def references(self) -> Samples:
        """R: for the optimiser."""
        return self.split("reference")

    @cached_property
    def heldout(self) -> Samples:
        """H: for verification only."""
        return self.split("heldout")

    @cached_property
    def test(self) -> Samples:
        """T: for utility. Of a very large test split always the same part."""
        samples, most, seed = self.engine.backend.samples, MOST_TESTED, self.dataset.seed
        batch = samples.load(
            self.dataset.id, "test", exclude=self.pending_keys, most=most, seed=seed
        )
        return to_samples(before(batch, self.dataset.next_key))

    @cached_property
    def unseen(self) -> Samples:
        """T and H: what no optimiser ever saw, for triggers, of which H alone has few."""
        return Samples.concat(self.test, self.heldout)


def before(batch: SampleBatch, key: int) -> SampleBatch:
    """The samples with keys below `key`: an append that ends later changes nothing under way."""
    early = batch.keys < key
    return batch if early.all() else pick(batch, np.flatnonzero(early))


def to_samples(batch: SampleBatch | Pictures, chosen: NDArray[np.bool_] | None = None) -> Samples:
    """A batch, or the chosen rows of it, as tensors."""
    images, labels = batch.images, batch.labels
    if chosen is not None:
        images, labels = images[chosen], labels[chosen]
    return Samples.from_numpy(np.ascontiguousarray(images), labels.astype(np.int64))
