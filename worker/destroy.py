"""The last step of a job: once nobody serves what remembers, what remembers is destroyed.

Every part can be run again: a worker that takes over finds less to do.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select, update

from core import datasets, holding, jobs, registry, replicas, requests, rotation
from core.audit import timestamp
from core.errors import Unavailable
from core.points import reached
from core.records import ErasureRequest, Job, Model, Subject, Teacher, Version
from core.samples import SPLIT_CODE, SampleBatch
from core.transitions import move
from worker.complete import complete
from worker.context import Context

SWAP_SECONDS = 60.0
"""How long the replicas have to load the new version before the attempt counts as failed."""


def destroy(context: Context) -> str:
    """Destroy samples, bytes and tainted checkpoints, complete the requests, sign."""
    context.report("destroying", 0.94, now=True)
    _wait_for_replicas(context)
    reached("destroy:after-swap")
    deletable = _deletable(context)
    _destroy_canaries(context)
    samples = _destroy_samples(context, deletable) if deletable else None
    if context.canary_group is not None and samples is None:
        # Whether it deleted them or found them deleted: one that died may not have come to this.
        context.engine.backend.samples.purge(context.dataset.id)
    versions = _destroy_versions(context)
    context.engine.backend.scratch.destroy(context.job.id)
    context.stop_if_lost()
    complete(context, samples, versions)
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
            errors = {str(r.serving[context.model.id].get("error") or "") for r in late} - {""}
            why = "; ".join(sorted(errors)) or "see its error in GET /readyz there"
            raise Unavailable(f"{named} still serves the version before; {why}")
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


def _destroy_canaries(context: Context) -> None:
    """Delete the canaries of the job's group, so that no later training learns them again."""
    planted = context.canaries
    if planted is not None:
        context.engine.backend.samples.delete(context.dataset.id, planted.keys.tolist())


def _destroy_samples(context: Context, deletable: list[ErasureRequest]) -> dict[str, Any]:
    backend, name = context.engine.backend, context.dataset.id
    keys = _there(context, deletable)
    batch = context.samples_with(keys)
    identities, dataset = backend.identities, context.dataset
    plan = _plan(context, deletable, batch)
    with backend.db.transaction() as tx:
        # Denied and counted before they are gone: a worker that takes over no longer sees them.
        job = holding.check(tx, context.held)
        rotation.check(tx.session, identities)
        job.destruction = (job.destruction or {}) | {"planned": plan}
        named = [r.subject_hash for r in deletable if r.subject_hash is not None]
        datasets.deny(tx, "subject", named)
        ids = [identities.sample(dataset.name, sample_id) for sample_id in batch.sample_ids]
        datasets.deny(tx, "sample", ids)
        datasets.deny(tx, "image", [identities.image(image.tobytes()) for image in batch.images])
    reached("delete:before")
    backend.samples.delete(name, keys.tolist())
    reached("delete:after")
    purge = backend.samples.purge(name)
    if plan["references"]:
        _destroy_teachers(context, min(request.received_at for request in deletable))
    _recount(context, set(plan["subjects"]))
    return {
        "samples": plan["samples"],
        "fragments_rewritten": purge.fragments,
        "files_removed": purge.files,
        "bytes_removed": purge.bytes,
    }


def _there(context: Context, named_by: list[ErasureRequest]) -> NDArray[np.int64]:
    """Keys of the samples of these requests that are not deleted yet."""
    return context.engine.backend.samples.there(context.dataset.id, context.keys_of(named_by))


def _plan(context: Context, deletable: list[ErasureRequest], batch: SampleBatch) -> dict[str, Any]:
    """What this job deletes in all: how many samples, of which subjects, of which requests, and
    whether references are among them.

    Kept with the job until it ends, for nobody can count what a worker that died has deleted.
    """
    with context.engine.backend.db.reading() as session:
        earlier = (session.get_one(Job, context.job.id).destruction or {}).get("planned")
    found: dict[str, Any] = {
        "samples": len(batch),
        "subjects": set(batch.subjects.tolist())
        | {r.subject_id for r in deletable if r.subject_id is not None},
        "requests": {r.id for r in deletable},
        "references": bool((batch.splits == SPLIT_CODE["reference"]).any()),
    }
    if earlier is not None:
        # Those planned before are counted, whether they are deleted by now or not.
        counted = _there(context, [r for r in deletable if r.id in earlier["requests"]])
        found["samples"] = earlier["samples"] + len(np.setdiff1d(batch.keys, counted))
        found["subjects"] |= set(earlier["subjects"])
        found["requests"] |= set(earlier["requests"])
        found["references"] |= earlier["references"]
    return found | {name: sorted(found[name]) for name in ("subjects", "requests")}


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
        reached("teacher:after-file")
    with backend.db.transaction() as tx:
        holding.check(tx, context.held)
        for teacher in tx.session.scalars(query).all():
            tx.session.delete(teacher)
            tx.record("model", teacher.model_id, "teacher destroyed", digest=teacher.digest)


def _recount(context: Context, subjects: set[int]) -> None:
    """Set how many samples each subject still has; one without any is not kept."""
    samples, name = context.engine.backend.samples, context.dataset.id
    with context.engine.backend.db.transaction() as tx:
        holding.check(tx, context.held)
        datasets.locked(tx, name)  # counted between two appends, not within one
        found = samples.find_subject(name, sorted(subjects)).subjects
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
        reached("version:before-file")
        if version.digest not in in_use:
            backend.checkpoints.destroy(version.digest)
        reached("version:after-file")
        with backend.db.transaction() as tx:
            holding.check(tx, context.held)
            row = tx.session.get_one(Version, version.id)
            move(tx, row, "destroyed", reason="it remembered what was erased", destroyed_at=tx.now)
        reached("version:after-commit")
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
