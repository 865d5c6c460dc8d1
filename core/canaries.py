"""Canaries: made-up samples by which an auditor can see that a model forgot.

A data set may be imported with groups of them. Each is a picture of noise with a random label,
so that a model can only know it by heart, and no person is in it. A fair coin decides for each
whether it is trained on. Before anything is trained, a commitment to every group goes into the
audit chain. Each job then also erases one unused group and guesses its coins: better than by
chance means that the model remembers (Carlini et al. 2019, "The secret sharer"; Steinke, Nasr
and Jagielski 2023, "Privacy auditing with one training run").

A group follows from its seed alone, by SHAKE-256 (FIPS 202): anybody who is shown the seed draws
the same coins, labels and pictures, and sees that they are the ones committed to.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from core.audit import canonical
from core.db import Transaction
from core.errors import Invalid
from core.records import AuditEvent, CanaryGroup, Dataset, Job
from core.samples import SPLIT_CODE, SampleBatch

PREFIX = "lethe-canary/"
"""How their sample ids begin; nobody else's do."""

MOST_GROUPS = 200
SIZES = range(8, 257)
WHITE = 48
"""Of 256 levels of a random byte, those that become a white pixel: 19 %, as on MNIST."""

COMMITTED = "canaries committed"
EARLIER_GROUPS = 20
"""Groups of earlier jobs that each job looks at again (G7), the newest ones."""


@dataclass(frozen=True)
class Plan:
    """How many groups an import plants, and how many canaries each has."""

    groups: int
    size: int

    @classmethod
    def parse(cls, text: str) -> Plan:
        """From GROUPSxSIZE, as in 20x32. Raises `Invalid`."""
        found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
        if found is None:
            raise Invalid(f"--canaries {text!r} is not GROUPSxSIZE, as in 20x32")
        plan = cls(int(found[1]), int(found[2]))
        if not 1 <= plan.groups <= MOST_GROUPS or plan.size not in SIZES:
            raise Invalid(
                f"--canaries {text}: 1 to {MOST_GROUPS} groups of {SIZES[0]} to {SIZES[-1]} "
                "canaries; a job spends one group, and 32 canaries are guessed or not"
            )
        return plan


@dataclass(frozen=True, eq=False)
class Drawn:
    """One group of K canaries.

    images: uint8 [K, C, H, W], each pixel 0 or 255. labels: int64 [K]. trained: bool [K], the
    coins: which of them are in the training split.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    trained: NDArray[np.bool_]


def draw(seed: str, size: int, shape: Sequence[int], classes: int) -> Drawn:
    """The group that follows from a seed (hex).

    SHAKE-256 of the seed's bytes gives, in this order: a byte a canary, whose lowest bit is the
    coin; four bytes a canary, big-endian, whose remainder by `classes` is the label; a byte a
    pixel, white when it is under `WHITE`.
    """
    pixels = size * int(np.prod(shape))
    stream = hashlib.shake_256(bytes.fromhex(seed)).digest(5 * size + pixels)
    data = np.frombuffer(stream, np.uint8)
    words = np.frombuffer(stream[size : 5 * size], ">u4").astype(np.int64)
    white = data[5 * size :] < WHITE
    return Drawn(
        images=np.where(white, 255, 0).astype(np.uint8).reshape(size, *shape),
        labels=words % classes,
        trained=(data[:size] & 1).astype(np.bool_),
    )


def of_group(group: CanaryGroup, dataset: Dataset) -> Drawn:
    """The canaries of a group of this data set."""
    return draw(group.seed, group.size, dataset.shape, len(dataset.classes))


def heads(group: CanaryGroup, dataset: Dataset, first_key: int) -> SampleBatch:
    """The canaries of a group that are trained on, as samples with keys from `first_key` on."""
    drawn = of_group(group, dataset)
    (chosen,) = np.nonzero(drawn.trained)
    n = len(chosen)
    return SampleBatch(
        keys=np.arange(first_key, first_key + n, dtype=np.int64),
        sample_ids=[f"{PREFIX}{group.number}/{i}" for i in chosen],
        subjects=np.full(n, subject_of(group.number), dtype=np.int64),
        labels=drawn.labels[chosen].astype(np.int32),
        splits=np.full(n, SPLIT_CODE["train"], dtype=np.int8),
        images=drawn.images[chosen],
    )


def check_names(sample_ids: Sequence[str]) -> None:
    """Raise `Invalid` for a sample that is named like a canary."""
    for name in sample_ids:
        if name.startswith(PREFIX):
            raise Invalid(f"sample {name!r}: ids that begin with {PREFIX!r} are kept for canaries")


def commitment(number: int, seed: str, size: int) -> str:
    """SHA-256, hex, of the canonical JSON of [number, seed, size].

    A seed of 128 random bits cannot be found from it (hiding), and no other seed gives the same
    (binding).
    """
    return hashlib.sha256(canonical([number, seed, size])).hexdigest()


def subject_of(number: int) -> int:
    """The subject number of a group's samples: negative, so that no person has it."""
    return -number - 1


def plant(tx: Transaction, dataset: Dataset, plan: Plan) -> list[CanaryGroup]:
    """Toss the coins of a new data set and commit to them in the audit chain."""
    groups = []
    for number in range(plan.groups):
        seed = secrets.token_hex(16)
        made = commitment(number, seed, plan.size)
        groups.append(
            CanaryGroup(
                dataset_id=dataset.id, number=number, seed=seed, size=plan.size, commitment=made
            )
        )
    tx.session.add_all(groups)
    commitments = [group.commitment for group in groups]
    tx.record("dataset", dataset.id, COMMITTED, size=plan.size, commitments=commitments)
    return groups


_FREE = or_(
    CanaryGroup.job_id.is_(None),
    Job.state.in_(("cancelled", "failed")) & Job.published_at.is_(None),
)


def groups_of(session: Session, dataset_id: str) -> list[CanaryGroup]:
    """Every group of a data set, spent or not, in order."""
    query = select(CanaryGroup).where(CanaryGroup.dataset_id == dataset_id)
    return list(session.scalars(query.order_by(CanaryGroup.number)))


def reserve(tx: Transaction, job: Job, dataset_id: str) -> CanaryGroup | None:
    """The group that this job erases: the one it has, else the first that is free.

    A group is free while no job has it, or when the job that had it ended unpublished: then
    the coins were never shown and the served model remembers them still. None when there is
    none left. Called with the job's row checked by its fencing number.
    """
    mine = of_job(tx.session, job.id)
    if mine is not None:
        return mine
    query = (
        select(CanaryGroup)
        .outerjoin(Job, Job.id == CanaryGroup.job_id)
        .where(CanaryGroup.dataset_id == dataset_id, _FREE)
        .order_by(CanaryGroup.number)
        .limit(1)
        .with_for_update(of=CanaryGroup, skip_locked=True)
    )
    group = tx.session.scalars(query).first()
    if group is not None:
        group.job_id = job.id
        tx.record("dataset", dataset_id, "canary group taken", group=group.number, job=job.id)
    return group


def of_job(session: Session, job_id: str) -> CanaryGroup | None:
    """The group that a job erases."""
    return session.scalars(select(CanaryGroup).where(CanaryGroup.job_id == job_id)).one_or_none()


def spent_before(session: Session, job: Job) -> list[CanaryGroup]:
    """Groups that published jobs of the same model erased, newest first: what G7 looks at."""
    query = (
        select(CanaryGroup)
        .join(Job, Job.id == CanaryGroup.job_id)
        .where(Job.model_id == job.model_id, Job.id != job.id, Job.published_at.is_not(None))
        .order_by(Job.published_at.desc())
        .limit(EARLIER_GROUPS)
    )
    return list(session.scalars(query))


@dataclass(frozen=True)
class Counts:
    """Of one data set: its groups, how many canaries each has, and the groups that are left for
    jobs to come; every other is spent, or in the hands of a job."""

    groups: int
    size: int
    left: int


def counts(session: Session) -> dict[str, Counts]:
    """For each data set that has canaries, by its id."""
    query = (
        select(
            CanaryGroup.dataset_id,
            func.count(),
            func.max(CanaryGroup.size),
            func.sum(case((_FREE, 1), else_=0)),
        )
        .outerjoin(Job, Job.id == CanaryGroup.job_id)
        .group_by(CanaryGroup.dataset_id)
    )
    return {each: Counts(*found) for each, *found in session.execute(query)}


def broken_commitments(session: Session) -> list[str]:
    """What is wrong between the groups and the audit chain, in words; nothing when all hold.

    Each group's seed must give its commitment, and the chain must name that commitment.
    """
    found = []
    events = session.scalars(select(AuditEvent).where(AuditEvent.event == COMMITTED))
    committed = {event.noun_id: event.data["commitments"] for event in events}
    for dataset in session.scalars(select(Dataset).order_by(Dataset.name)):
        groups = {group.number: group for group in groups_of(session, dataset.id)}
        expected = committed.get(dataset.id, [])
        for number in sorted(groups.keys() | set(range(len(expected)))):
            group = groups.get(number)
            there = expected[number] if number < len(expected) else None
            where = f"canary group {number} of data set {dataset.name!r}"
            if group is None:
                found.append(f"{where} was committed to and is missing")
            elif there is None:
                found.append(f"{where} was never committed to")
            elif not commitment(number, group.seed, group.size) == group.commitment == there:
                found.append(f"{where} is not the one committed to: its coins were changed")
    return found
