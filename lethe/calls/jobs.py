"""Jobs: as they stand, as they change, and a reviewer's decisions."""

from __future__ import annotations

import time

from core.errors import LetheError
from lethe.answers import Job
from lethe.calls.asking import decided, in_path, one, pages
from lethe.flow import Ask, Flow, Give, Stream

_POLL = 20.0  # seconds that one long-poll waits


def job(job_id: str) -> Flow[Job]:
    """One job, as it stands."""
    return one(Job, Ask("GET", f"/jobs/{in_path(job_id)}"))


def jobs(*, status: str | None = None, model: str | None = None) -> Stream[Job]:
    """Jobs, newest first."""
    return pages(Job, "/jobs", {"status": status, "model": model})


def follow(job_id: str, timeout: float | None = None) -> Stream[Job]:
    """The job each time that it changes, until it is over.

    Raises `LetheError` after `timeout` seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    etag: str | None = None
    while True:
        left = _POLL if end is None else min(_POLL, end - time.monotonic())
        if left <= 0:
            raise LetheError(f"job {job_id} is not over yet: the time to wait is up")
        answer = yield Ask(
            "GET",
            f"/jobs/{in_path(job_id)}",
            params={"wait": round(left, 1)} if etag else None,
            headers={"If-None-Match": etag} if etag else None,
            extra_time=left,
        )
        if answer.status_code == 304:
            continue
        etag = answer.headers.get("ETag")
        found = Job.model_validate(answer.json())
        yield Give(found)
        if found.over:
            return


def approve_job(job_id: str, reason: str) -> Flow[Job]:
    """Publish the candidate of a job in review, or let one begin that erases very much."""
    return decided(Job, f"/jobs/{in_path(job_id)}/approve", reason)


def reject_job(job_id: str, reason: str) -> Flow[Job]:
    """Refuse the candidate of a job in review; its requests stay in review."""
    return decided(Job, f"/jobs/{in_path(job_id)}/reject", reason)


def retry_job(job_id: str) -> Flow[Job]:
    """Run a failed job, or one in review, again."""
    return one(Job, Ask("POST", f"/jobs/{in_path(job_id)}/retry", repeatable=False))


def cancel_job(job_id: str, reason: str) -> Flow[Job]:
    """Cancel a job and the requests that it carries out."""
    return decided(Job, f"/jobs/{in_path(job_id)}/cancel", reason)
