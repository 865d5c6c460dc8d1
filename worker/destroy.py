"""The last step of a job: once nobody serves what remembers, what remembers is destroyed.

Every part can be run again: a worker that takes over finds less to do.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import delete, select, update

from core import certificates, datasets, drift, holding, jobs, registry, replicas, requests
from core.audit import timestamp
from core.db import Transaction
from core.enlist import enlist_retraining
from core.errors import Unavailable
from core.records import (
    Dataset,
    ErasureRequest,
    Job,
    JobRequest,
    Model,
    RequestSample,
    Subject,
    Teacher,
    Version,
)
from core.samples import SPLIT_CODE
from core.transitions import move
from worker.context import Context

SWAP_SECONDS = 60.0
"""How long the replicas have to load the new version before the attempt counts as failed."""


def destroy(context: Context) -> str:
    """Destroy samples, bytes and tainted checkpoints, complete the requests, sign."""
    context.report("destroying", 0.94, now=True)
    _wait_for_replicas(context)
    deletable = _deletable(context)
    samples = _destroy_samples(context, deletable) if deletable else None
    versions = _destroy_versions(context)
    context.stop_if_lost()
    _complete(context, samples, versions)
    return "succeeded"


def _wait_for_replicas(context: Context) -> None:
    """Until no live replica serves a version that remembers. A dead one's lease ends first."""
    db = context.engine.backend.db
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        with db.reading() as session:
            ids = jobs.request_ids(session, context.job.id)
            tainted = {v.digest for v in registry.doomed(session, context.model.id, ids)}
            late = replicas.still_serving(session, context.model.id, tainted)
        if not late:
            return
        context.stop_if_lost()
        if time.monotonic() > deadline:
            named = ", ".join(f"{r.host} (process {r.pid})" for r in late)
            raise Unavailable(
                f"{named} still serves the version before; see its error in GET /readyz there"
            )
        time.sleep(0.1)


def _deletable(context: Context) -> list[ErasureRequest]:
    """The job's requests that every other model has forgotten too.

    This job is in `destroying` before it looks, so that of two last jobs one sees the other.
    """
    with context.engine.backend.db.reading() as session:
        found = []
        for request in jobs.requests_of(session, context.job.id):
            states = {
                job.state
                for job in requests.jobs_of(session, request.id)
                if job.id != context.job.id
            }
            if states <= {"destroying", "succeeded"}:
                found.append(request)
    return found


def _destroy_samples(context: Context, deletable: list[ErasureRequest]) -> dict[str, Any]:
    backend, name = context.engine.backend, context.dataset.id
    keys = context.keys_of(deletable)
    keys = keys[np.isin(keys, backend.samples.keys(name))]
    batch = backend.samples.take(name, keys)
    identities, dataset = backend.identities, context.dataset
    subjects = set(batch.subjects.tolist())
    with backend.db.transaction() as tx:
        # Denied before they are gone: a worker that takes over could not hash them any more.
        holding.check(tx, context.held)
        named = [r.subject_hash for r in deletable if r.subject_hash is not None]
        datasets.deny(tx, "subject", named)
        ids = [identities.sample(dataset.name, sample_id) for sample_id in batch.sample_ids]
        datasets.deny(tx, "sample", ids)
        datasets.deny(tx, "image", [identities.image(image.tobytes()) for image in batch.images])
    backend.samples.delete(name, keys.tolist())
    purge = backend.samples.purge(name)
    if (batch.splits == SPLIT_CODE["reference"]).any():
        _destroy_teachers(context, min(request.received_at for request in deletable))
    subjects |= {r.subject_id for r in deletable if r.subject_id is not None}
    _recount(context, subjects)
    return {
        "samples": len(batch),
        "fragments_rewritten": purge.fragments,
        "files_removed": purge.files,
        "bytes_removed": purge.bytes,
    }


def _destroy_teachers(context: Context, received_at: datetime) -> None:
    """Destroy every teacher of the data set that may have seen an erased reference.

    Those made since the request came in left its samples out; a job that finds no teacher
    makes one.
    """
    backend = context.engine.backend
    query = (
        select(Teacher)
        .join(Model, Model.id == Teacher.model_id)
        .where(Model.dataset_id == context.dataset.id, Teacher.created_at < received_at)
    )
    with backend.db.reading() as session:
        stale = session.scalars(query).all()
    for teacher in stale:  # the file first: a row without one is mended, not the reverse
        backend.checkpoints.destroy(teacher.digest)
    with backend.db.transaction() as tx:
        holding.check(tx, context.held)
        for teacher in tx.session.scalars(query).all():
            tx.session.delete(teacher)
            tx.record("model", teacher.model_id, "teacher destroyed", digest=teacher.digest)


def _recount(context: Context, subjects: set[int]) -> None:
    """Set how many samples each subject still has; one without any is not kept."""
    samples, name = context.engine.backend.samples, context.dataset.id
    found = samples.find_subject(name, sorted(subjects)).subjects
    with context.engine.backend.db.transaction() as tx:
        holding.check(tx, context.held)
        for subject in subjects:
            count = int((found == subject).sum())
            if count:
                tx.session.execute(
                    update(Subject).where(Subject.id == subject).values(sample_count=count)
                )
            else:
                tx.session.execute(delete(Subject).where(Subject.id == subject))


def _destroy_versions(context: Context) -> list[dict[str, Any]]:
    """Remove the files of every version, not served, that remembers these requests."""
    backend = context.engine.backend
    with backend.db.reading() as session:
        ids = jobs.request_ids(session, context.job.id)
        doomed = registry.doomed(session, context.model.id, ids)
        in_use = registry.digests_in_use(session, besides=[v.id for v in doomed])
    for version in doomed:
        if version.digest not in in_use:
            backend.checkpoints.destroy(version.digest)
        with backend.db.transaction() as tx:
            holding.check(tx, context.held)
            row = tx.session.get_one(Version, version.id)
            move(tx, row, "destroyed", reason="it remembered what was erased", destroyed_at=tx.now)
    with backend.db.reading() as session:
        gone = session.scalars(
            select(Version).where(
                Version.model_id == context.model.id,
                Version.destroyed_at >= context.job.queued_at,
            )
        ).all()
        in_use = registry.digests_in_use(session)
    for version in gone:
        # Two models that share a file and destroy at once each saw the other's use of it.
        if version.digest not in in_use:
            backend.checkpoints.destroy(version.digest)
    return [
        {"version": v.number, "digest": v.digest, "destroyed_at": timestamp(v.destroyed_at)}
        for v in sorted(gone, key=lambda v: v.number)
        if v.destroyed_at is not None
    ]


def _complete(
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
        _ask_for_retraining(tx, model)
        ids = jobs.request_ids(tx.session, job.id)
        for request_id in sorted(ids):
            _complete_request(tx, context, requests.locked(tx, request_id))


def _ask_for_retraining(tx: Transaction, model: Model) -> None:
    """Queue an exact retraining when what is served has spent the model's drift budget."""
    serving = registry.serving(tx.session, model.id)
    if serving is None:
        return
    limit = drift.overspent(drift.Budget.of(model.policy), serving.metrics["drift"], tx.now)
    if limit is not None:
        enlist_retraining(tx, model, limit)


def _complete_request(tx: Transaction, context: Context, request: ErasureRequest) -> None:
    done = requests.jobs_of(tx.session, request.id)
    if any(job.state != "succeeded" for job in done) or request.state == "completed":
        return
    move(tx, request, "completed", outcome="erased", completed_at=tx.now)
    tx.session.execute(delete(RequestSample).where(RequestSample.request_id == request.id))
    dataset = tx.session.get_one(Dataset, request.dataset_id)
    evidence = {_name(tx, job): _evidence(tx, job) for job in done}
    certificates.issue(tx, context.engine.backend.signer, request, dataset.name, evidence)


def _name(tx: Transaction, job: Job) -> str:
    return tx.session.get_one(Model, job.model_id).name


def _evidence(tx: Transaction, job: Job) -> dict[str, Any]:
    """What the certificate says of one job: no sample, no score of one, no name."""
    base = tx.session.get(Version, job.base_version_id) if job.base_version_id else None
    result = tx.session.get(Version, job.result_version_id) if job.result_version_id else None
    requests_together = tx.session.scalars(
        select(JobRequest.request_id).where(JobRequest.job_id == job.id)
    ).all()
    return {
        "job": job.id,
        "strategy": job.strategy,
        "seed": job.seed,
        "requests_together": len(requests_together),
        "digest_before": base.digest if base else None,
        "digest_after": result.digest if result else None,
        "started_at": timestamp(job.started_at) if job.started_at else None,
        "published_at": timestamp(job.published_at) if job.published_at else None,
        "verification": job.verification,
        "destruction": job.destruction,
    }
