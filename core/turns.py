"""Whose turn it is: due dates that press come first, and what is left is shared fairly.

The order of the jobs that can be claimed at a moment:

1. *Pressing* jobs, the soonest due first. A job presses once its due date is nearer than the
   reserve: the time that everything queued would take one worker alone, and the longest job on
   top, by the estimates, twice over.
2. All others, by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) between tenants,
   by seconds of work over weight; a tenant's own soonest due first.
3. Retrainings that nobody asked for and that are not due yet.

What follows, as long as no job lasts longer than twice its estimate:

- Nothing that waited while another was let past it is late. At the last such moment all that is
  due by then fitted behind whatever runs, on one worker; after it, due dates alone decide.
- With one worker, and requests that are due in the order in which they come (a month after), a
  job is late by this order only if it is late by due dates alone.
- Of two tenants that have jobs waiting, neither gets more than the other, over weight, by more
  than a job of each, unless due dates press.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CAUTION = 2.0
"""Estimates are of the mean: so many times as much is reserved."""


@dataclass(frozen=True)
class Waiting:
    """A job that can be claimed now. seconds: what it is expected to take; due, queued: moments
    in seconds on one clock. spare: nobody asked for it, and it is not due."""

    job_id: str
    tenant: str
    weight: float
    seconds: float
    due: float
    queued: float
    spare: bool = False


@dataclass(frozen=True)
class Tags:
    """Where the sharing stands. virtual: the time by which tenants are compared; finish: by
    tenant, when on that time its last job will have had its share."""

    virtual: float
    finish: Mapping[str, float]

    def start(self, tenant: str) -> float:
        """The tag that a tenant's next job starts with: who was away has gathered no credit."""
        return max(self.virtual, self.finish.get(tenant, 0.0))


def reserve(queued_seconds: float, longest: float) -> float:
    """Seconds before its due date from which on a job presses.

    queued_seconds: of all that is queued; longest: of any job, queued or running.
    """
    return CAUTION * (queued_seconds + longest)


def order(waiting: Sequence[Waiting], tags: Tags, now: float, reserve: float) -> list[Waiting]:
    """The jobs in the order in which they are tried to claim."""

    def key(job: Waiting) -> tuple[int, float, float, float, str]:
        if job.spare:
            return 2, job.due, job.due, job.queued, job.job_id
        if job.due <= now + reserve:
            return 0, job.due, job.due, job.queued, job.job_id
        return 1, tags.start(job.tenant), job.due, job.queued, job.job_id

    return sorted(waiting, key=key)


def charged(claimed: Waiting, waiting: Sequence[Waiting], tags: Tags) -> tuple[float, float]:
    """What a claim makes of the virtual time, and of the tenant's finish.

    waiting: the jobs that it was claimed from. A job that presses takes its share like any other.
    """
    asked = [job for job in waiting if not job.spare] or waiting
    virtual = max(tags.virtual, min(tags.start(job.tenant) for job in asked))
    return virtual, tags.start(claimed.tenant) + claimed.seconds / claimed.weight
