"""The end of a job: it has succeeded, its requests are completed, and the certificate is signed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select

from core import audit, canaries, certificates, drift, holding, registry, requests
from core.audit import timestamp
from core.db import Transaction
from core.enlist import enlist_retraining
from core.points import reached
from core.records import Dataset, ErasureRequest, Job, JobRequest, Model, RequestSample, Version
from core.transitions import move
from worker.context import Context
from worker.engine import peak_mb

NEWEST = 0.3
"""What the newest job counts for among those before it."""


def complete(
    context: Context, samples: dict[str, Any] | None, versions: list[dict[str, Any]]
) -> None:
    """The job has succeeded, and each request whose jobs all have is completed and signed."""
    backend = context.engine.backend
    with backend.db.transaction() as tx:
        model = registry.lock_model(tx, context.model.id)
        job = holding.check(tx, context.held)
        earlier = job.destruction or {}
        destruction = {
            "samples": samples or earlier.get("samples"),
            "versions": versions,
            "at": timestamp(tx.now),
        }
        holding.advance(
            tx,
            context.held,
            "succeeded",
            destruction=destruction,
            owner=None,
            lease_until=None,
            error=None,
            finished_at=tx.now,
            progress={**job.progress, "phase": "succeeded", "fraction": 1.0},
        )
        tx.record("job", job.id, "destroyed", model=model.id, **destruction)
        _note_costs(tx, context, model, job)
        _ask_for_retraining(tx, model)
        asked = requests.locked_of(tx, job.id)
        carried_by = requests.jobs_beside(tx.session, job.id)
        told: dict[str, tuple[str, dict[str, Any]]] = {}
        head = audit.head_of(tx.session)
        for request in asked:
            _complete_request(tx, context, request, carried_by[request.id], told, head)
    reached("complete:after-commit")


def _note_costs(tx: Transaction, context: Context, model: Model, job: Job) -> None:
    """What a job of the model takes, for claims and plans: the newest counts for three tenths.

    Only one that nobody had held before says how long: the others waited in between.
    """
    costs = dict(model.costs or {})
    if context.held.fence == 1 and job.started_at is not None:
        seconds = (tx.now - job.started_at).total_seconds()
        before = costs.get(job.kind, seconds)
        costs[job.kind] = round(before + NEWEST * (seconds - before), 3)
    peak = peak_mb(context.engine.device)
    if peak is not None:
        costs["memory_mb"] = max(peak, costs.get("memory_mb", 0))
    model.costs = costs


def _ask_for_retraining(tx: Transaction, model: Model) -> None:
    """Queue an exact retraining when what is served has spent the model's drift budget."""
    serving = registry.serving(tx.session, model.id)
    if serving is None:
        return
    limit = drift.overspent(drift.Budget.of(model.policy), serving.metrics["drift"], tx.now)
    if limit is not None:
        enlist_retraining(tx, model, limit)


def _complete_request(
    tx: Transaction,
    context: Context,
    request: ErasureRequest,
    done: list[Job],
    told: dict[str, tuple[str, dict[str, Any]]],
    head: tuple[int, str],
) -> None:
    """done: the jobs that carry it out. told: by job, its model's name and what certificates say
    of it; head: of the audit chain. Looked up once for all requests of the batch."""
    if any(job.state != "succeeded" for job in done) or request.state == "completed":
        return
    move(tx, request, "completed", outcome="erased", completed_at=tx.now)
    tx.session.execute(delete(RequestSample).where(RequestSample.request_id == request.id))
    dataset = tx.session.get_one(Dataset, request.dataset_id)
    for each in done:
        if each.id not in told:
            told[each.id] = tx.session.get_one(Model, each.model_id).name, _evidence(tx, each)
    evidence = dict(told[each.id] for each in done)
    certificates.issue(tx, context.engine.backend.signer, request, dataset.name, evidence, head)


def _evidence(tx: Transaction, job: Job) -> dict[str, Any]:
    """What the certificate says of one job: no sample, no score of one, no name."""
    base = tx.session.get(Version, job.base_version_id) if job.base_version_id else None
    result = tx.session.get(Version, job.result_version_id) if job.result_version_id else None
    together = select(func.count()).where(JobRequest.job_id == job.id)
    group = canaries.of_job(tx.session, job.id)
    return {
        "job": job.id,
        "strategy": job.strategy,
        "seed": job.seed,
        "requests_together": tx.session.scalar(together),
        "digest_before": base.digest if base else None,
        "digest_after": result.digest if result else None,
        "started_at": timestamp(job.started_at) if job.started_at else None,
        "published_at": timestamp(job.published_at) if job.published_at else None,
        "canaries": group
        and {
            "group": group.number,
            "size": group.size,
            "seed": group.seed,
            "commitment": group.commitment,
        },
        "verification": job.verification,
        "destruction": job.destruction,
    }
