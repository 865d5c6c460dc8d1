"""What jobs of a model cost: fitted to the jobs that ended, or read from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from core import registry
from core.errors import Invalid
from core.records import (
    AuditEvent,
    AuditHead,
    Certificate,
    ErasureRequest,
    Job,
    JobRequest,
    Model,
    Subject,
)

NEWEST = 500
"""Jobs that are looked at, at most."""

UNMEASURED_RETRAINING = 20.0
"""Jobs that a retraining lasts where none was measured: about what it does on MNIST."""

PHASES = ("running", "verifying", "publishing", "destroying")


@dataclass(frozen=True)
class Costs:
    """A job that erases n samples lasts fixed_seconds + n sample_seconds, times one of `spread`.

    spread: of each measured job, its seconds over those fitted. retrain_seconds: of an exact
    retraining. samples_per_subject: of one request. trained: samples that the model was trained
    on. checkpoint_mb: of one version. request_kb, job_kb: what the database keeps of each for
    good. phases: shares of a job's seconds. jobs: how many were measured. origin: in words, where
    all this comes from. assumed: which of it was not measured. per: what is busy meanwhile, a
    "core" or a "GPU".
    """

    fixed_seconds: float
    sample_seconds: float = 0.0
    spread: tuple[float, ...] = (1.0,)
    retrain_seconds: float = 0.0
    samples_per_subject: float = 1.0
    trained: int = 0
    checkpoint_mb: float = 0.0
    request_kb: float = 0.0
    job_kb: float = 0.0
    phases: Mapping[str, float] | None = None
    jobs: int = 0
    origin: str = ""
    assumed: tuple[str, ...] = ()
    per: str = "core"

    def seconds(self, samples: float) -> float:
        """What a job that erases so many samples lasts on average."""
        return self.fixed_seconds + self.sample_seconds * samples

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types."""
        return asdict(self) | {"spread": list(self.spread), "assumed": list(self.assumed)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Costs:
        """What `to_dict` gave, or a person wrote; raises `Invalid`."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise Invalid(f"costs: unknown {', '.join(unknown)}; use {', '.join(sorted(known))}")
        if "fixed_seconds" not in given:
            raise Invalid("costs: fixed_seconds is missing")
        for name in known - {"spread", "phases", "origin", "assumed", "per"}:
            value = given.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise Invalid(f"costs: {name} must be a number and not negative")
        spread = given.get("spread", [1.0])
        if (
            not isinstance(spread, list | tuple)
            or not spread
            or not all(isinstance(each, int | float) and each > 0 for each in spread)
        ):
            raise Invalid("costs: spread must be a list of numbers above 0")
        assumed = tuple(map(str, given.get("assumed", ())))
        return cls(**{**given, "spread": tuple(map(float, spread)), "assumed": assumed})


def read(path: Path) -> Costs:
    """Costs from a file: an object of them, or one that has them under `costs`."""
    try:
        given = json.loads(path.read_text())
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"{path} is not JSON: {error}") from None
    if isinstance(given, dict) and isinstance(given.get("costs"), dict):
        given = given["costs"]
    if not isinstance(given, dict):
        raise Invalid(f"{path} is not a JSON object of costs")
    return Costs.from_dict(given)


def fit(
    samples: Sequence[float], seconds: Sequence[float]
) -> tuple[float, float, tuple[float, ...]]:
    """fixed_seconds, sample_seconds and spread, by least squares; neither is below 0.

    Jobs of one size tell nothing of what a sample costs: then it costs nothing.
    """
    n, y = np.asarray(samples, dtype=float), np.asarray(seconds, dtype=float)
    slope = 0.0
    if len(n) > 1 and n.std() > 0:
        slope = max(0.0, float(np.cov(n, y, bias=True)[0, 1] / n.var()))
    fixed = float(y.mean() - slope * n.mean())
    if fixed <= 0:
        fixed, slope = 0.0, float(y.sum() / max(n.sum(), 1.0))
    # One that was fitted too low has a large ratio: together they must cost what they did.
    ratios = y / np.maximum(fixed + slope * n, 1e-9)
    ratios /= max(1e-9, ratios.mean())
    return fixed, slope, tuple(max(1e-4, round(float(each), 4)) for each in ratios)


def measured(session: Session, model: Model, checkpoint_mb: float = 0.0) -> Costs:
    """What the jobs of the model that ended took, from their records; raises `Invalid` without any.

    Only jobs that one worker claimed and brought to their end: others waited in between.
    """
    jobs = _ended(session, model, exact=False)
    if not jobs:
        raise Invalid(
            f"no erasure job of model {model.name!r} has ended yet, so that nothing is known of "
            "its costs: erase someone first, or give --costs FILE"
        )
    requests = _requests_of(session, [job.id for job in jobs])
    samples = [float((job.verification or {}).get("erased", 0)) for job in jobs]
    fixed, slope, spread = fit(samples, [_seconds(job) for job in jobs])
    retrained = [_seconds(job) for job in _ended(session, model, exact=True)]
    assumed = []
    if not retrained:
        assumed.append(f"retrain_seconds: {UNMEASURED_RETRAINING:g} jobs' time")
        retrained = [UNMEASURED_RETRAINING * (fixed + slope * float(np.mean(samples)))]
    if len(set(samples)) == 1:
        assumed.append("sample_seconds: all jobs measured were of one size")
    subjects, of_subjects = session.execute(
        select(func.count(), func.coalesce(func.sum(Subject.sample_count), 0)).where(
            Subject.dataset_id == model.dataset_id
        )
    ).one()
    serving = registry.serving(session, model.id)
    request_kb, job_kb = _kept(session)
    return Costs(
        fixed,
        slope,
        spread,
        float(np.mean(retrained)),
        sum(samples) / max(1, sum(requests.values())) or float(of_subjects) / max(1, subjects),
        int(serving.metrics["drift"]["trained"]) if serving else int(of_subjects),
        checkpoint_mb,
        request_kb,
        job_kb,
        phases(session, jobs),
        len(jobs),
        f"{len(jobs)} jobs of model {model.name!r} on record",
        tuple(assumed),
    )


def _ended(session: Session, model: Model, *, exact: bool) -> list[Job]:
    """Those that were to retrain exactly, or all others."""
    query = select(Job).where(
        Job.model_id == model.id,
        (Job.strategy == "retrain") == exact,
        Job.state == "succeeded",
        Job.fence == 1,
        Job.published_at.is_not(None),
    )
    return list(session.scalars(query.order_by(Job.id.desc()).limit(NEWEST)))


def _seconds(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()


def _requests_of(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    query = select(JobRequest.job_id, func.count()).where(JobRequest.job_id.in_(job_ids))
    return dict(session.execute(query.group_by(JobRequest.job_id)).all())


def phases(session: Session, jobs: Sequence[Job]) -> dict[str, float]:
    """What share of their time the jobs spent in each state, by the audit chain."""
    query = select(AuditEvent.noun_id, AuditEvent.at, AuditEvent.data).where(
        AuditEvent.noun == "job",
        AuditEvent.noun_id.in_([job.id for job in jobs]),
        AuditEvent.event == "moved",
    )
    since: dict[str, datetime] = {}
    spent = dict.fromkeys(PHASES, 0.0)
    for job_id, at, data in session.execute(query.order_by(AuditEvent.seq)).all():
        if data["from"] in spent and job_id in since:
            spent[data["from"]] += (at - since[job_id]).total_seconds()
        since[job_id] = at
    total = sum(spent.values()) or 1.0
    return {name: round(seconds / total, 4) for name, seconds in spent.items()}


def _kept(session: Session) -> tuple[float, float]:
    """Kilobytes that the database keeps of a request and of a job for good."""
    document = session.scalar(
        select(func.avg(func.length(Certificate.document))).where(
            Certificate.request_id.in_(
                select(Certificate.request_id).order_by(Certificate.request_id.desc()).limit(100)
            )
        )
    )
    head = session.scalar(select(func.max(AuditHead.seq))) or 0
    event = session.scalar(
        select(func.avg(func.length(cast(AuditEvent.data, Text)))).where(
            AuditEvent.seq > head - 1000
        )
    )
    requests = session.scalar(select(func.count()).select_from(ErasureRequest)) or 1
    chain = head / requests * (float(event or 0) + 300)  # its hashes, times and names
    verification = session.scalar(
        select(func.avg(func.length(cast(Job.verification, Text)))).where(
            Job.verification.is_not(None)
        )
    )
    return (float(document or 0) + chain + 700) / 1000, (float(verification or 0) + 1000) / 1000
