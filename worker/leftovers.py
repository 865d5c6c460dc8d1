"""What jobs that ended some other way than by succeeding have left: candidates and scratch."""

from __future__ import annotations

import logging

from sqlalchemy import select

from core import registry
from core.backend import Backend
from core.records import Job, Version
from core.states import JOB_HELD
from core.transitions import move

log = logging.getLogger(__name__)

_MAY_RESUME = ("queued", *JOB_HELD)


def clear(backend: Backend) -> None:
    """Destroy candidates that no job will publish any more, and the scratch of jobs that rest.

    A candidate is its job's while the job names it and has not failed or been cancelled: a
    reviewer may approve it. Scratch is kept for jobs that a worker may take up again.
    """
    with backend.db.transaction() as tx:
        rows = tx.session.execute(
            select(Version, Job)
            .join(Job, Job.id == Version.job_id)
            .where(Version.state == "candidate")
            .order_by(Version.id)
        ).all()
        stale = [version for version, job in rows if not _waits(version, job)]
        for version in stale:
            why = "no job will publish it any more"
            move(tx, version, "destroyed", reason=why, destroyed_at=tx.now)
        in_use = registry.digests_in_use(tx.session)
        running = set(tx.session.scalars(select(Job.id).where(Job.state.in_(_MAY_RESUME))))
    for digest in {version.digest for version in stale} - in_use:
        backend.checkpoints.destroy(digest)
        log.info("destroyed candidate %s, which no job will publish", digest)
    for name in backend.scratch.destroy_others(running):
        log.info("removed scratch %s of a job that rests", name)


def _waits(version: Version, job: Job) -> bool:
    """May the job still publish this candidate?"""
    if job.state in ("failed", "cancelled", "succeeded"):
        return False
    return job.candidate is not None and job.candidate["version_id"] == version.id
