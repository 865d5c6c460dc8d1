"""Records with what belongs to them, as front ends show them: a few queries for a whole page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from core import canaries, drift, registry, replicas
from core.db import database_now
from core.records import Dataset, ErasureRequest, Job, JobRequest, Model, Replica, Version
from core.requests import job_ids_of_all, no_request

_ONE_REQUEST = (
    select(ErasureRequest, Model.name)
    .join(Model, Model.id == ErasureRequest.model_id)
    .where(ErasureRequest.id == bindparam("request_id"))
)


@dataclass(frozen=True)
class RequestFacts:
    """A request, the name of its model, and its jobs, oldest first."""

    request: ErasureRequest
    model: str
    job_ids: list[str]


@dataclass(frozen=True)
class JobFacts:
    """A job, the name of its model, its requests, and the numbers of its versions."""

    job: Job
    model: str
    request_ids: list[str]
    base_version: int | None
    result_version: int | None


@dataclass(frozen=True)
class Served:
    """What one live replica says of one model."""

    replica: Replica
    digest: str | None
    version: int | None
    error: str | None


@dataclass(frozen=True)
class ModelFacts:
    """A model, its data set, the version it should serve, and what live replicas do serve.

    drift: what is left of the drift budget; None while the model serves nothing. canaries: of
    its data set; None where none were planted.
    """

    model: Model
    dataset: Dataset
    serving: Version | None
    replicas: list[Served]
    drift: drift.Standing | None
    canaries: canaries.Counts | None


@dataclass(frozen=True)
class VersionFacts:
    """A version, its parent's number, the requests it remembers, the replicas that serve it."""

    version: Version
    parent: int | None
    tainted_by: list[str]
    served_by: list[str]


def of_request(session: Session, request_id: str, *, only: str | None = None) -> RequestFacts:
    """One request; raises `NotFound`, also when it is of another model than `only` (an id)."""
    row = session.execute(_ONE_REQUEST, {"request_id": request_id}).one_or_none()
    if row is None or only not in (None, row[0].model_id):
        raise no_request(request_id)
    request, model = row
    return RequestFacts(request, model, job_ids_of_all(session, [request_id]).get(request_id, []))


def of_requests(session: Session, requests: Sequence[ErasureRequest]) -> list[RequestFacts]:
    """The same requests in the same order."""
    names = _names(session, {request.model_id for request in requests})
    job_ids = job_ids_of_all(session, [request.id for request in requests])
    return [RequestFacts(r, names[r.model_id], job_ids.get(r.id, [])) for r in requests]


def of_jobs(session: Session, jobs: Sequence[Job]) -> list[JobFacts]:
    """The same jobs in the same order."""
    names = _names(session, {job.model_id for job in jobs})
    query = select(JobRequest).where(JobRequest.job_id.in_([job.id for job in jobs]))
    request_ids: dict[str, list[str]] = {}
    for link in session.scalars(query.order_by(JobRequest.request_id)):
        request_ids.setdefault(link.job_id, []).append(link.request_id)
    versions = {each for job in jobs for each in (job.base_version_id, job.result_version_id)}
    numbers = _numbers(session, versions - {None})
    return [
        JobFacts(
            job,
            names[job.model_id],
            request_ids.get(job.id, []),
            numbers.get(job.base_version_id or ""),
            numbers.get(job.result_version_id or ""),
        )
        for job in jobs
    ]


def of_models(session: Session, models: Sequence[Model]) -> list[ModelFacts]:
    """The same models in the same order."""
    ids = [model.id for model in models]
    datasets = {
        dataset.id: dataset
        for dataset in session.scalars(
            select(Dataset).where(Dataset.id.in_({model.dataset_id for model in models}))
        )
    }
    query = select(Version).where(Version.model_id.in_(ids), Version.state == "serving")
    serving = {version.model_id: version for version in session.scalars(query)}
    live, now, planted = replicas.live(session), database_now(session), canaries.counts(session)
    return [
        ModelFacts(
            model,
            datasets[model.dataset_id],
            serving.get(model.id),
            _served(live, model.id),
            _standing(model, serving.get(model.id), now),
            planted.get(model.dataset_id),
        )
        for model in models
    ]


def _standing(model: Model, serving: Version | None, now: datetime) -> drift.Standing | None:
    if serving is None:
        return None
    return drift.standing(drift.Budget.of(model.policy), serving.metrics["drift"], now)


def of_versions(session: Session, model: Model) -> list[VersionFacts]:
    """Every version of the model, newest first."""
    versions = registry.versions(session, model.id)
    numbers = {version.id: version.number for version in versions}
    remembered = registry.taints(session, list(numbers))
    served = _served(replicas.live(session), model.id)
    return [
        VersionFacts(
            version,
            numbers.get(version.parent_id or ""),
            remembered.get(version.id, []),
            [each.replica.id for each in served if each.digest == version.digest],
        )
        for version in versions
    ]


def counts(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    """How many requests and how many jobs there are, by state."""
    requests = select(ErasureRequest.state, func.count()).group_by(ErasureRequest.state)
    jobs = select(Job.state, func.count()).group_by(Job.state)
    return (
        dict(session.execute(requests).all()),
        dict(session.execute(jobs).all()),
    )


def _served(live: list[Replica], model_id: str) -> list[Served]:
    return [
        Served(replica, entry.get("digest"), entry.get("version"), entry.get("error"))
        for replica in live
        if (entry := replica.serving.get(model_id)) is not None
    ]


def _names(session: Session, ids: Collection[str]) -> dict[str, str]:
    query = select(Model.id, Model.name).where(Model.id.in_(ids))
    return dict(session.execute(query).all())


def _numbers(session: Session, ids: Collection[str | None]) -> dict[str, int]:
    query = select(Version.id, Version.number).where(Version.id.in_(ids))
    return dict(session.execute(query).all())
