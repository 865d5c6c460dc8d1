"""Following a request on a terminal: one bar for each job, drawn from long-polls."""

from __future__ import annotations

from collections.abc import Callable

from lethe.answers import ErasureRequest, Job
from lethe.client import Client
from lethe.console import progress


def watch(
    client: Client, request: ErasureRequest, alive: Callable[[], None] | None = None
) -> tuple[ErasureRequest, list[Job]]:
    """Show the request's jobs until it is over; returns it and its jobs as they ended.

    `alive` is called at each change and may raise when there is nobody left to wait for.

    Ctrl-C stops the watching alone: the service goes on.
    """
    last: dict[str, Job] = {}
    for job_id in request.job_ids:
        with progress(f"Job {job_id[-6:]}") as advance:
            for job in client.follow(job_id):
                last[job_id] = job
                if alive is not None:
                    alive()
                advance(1.0 if job.status == "succeeded" else job.progress.fraction, words(job))
    return client.wait(request), list(last.values())


def words(job: Job) -> str:
    """Where the job stands, in a few words."""
    at = job.progress
    phase = at.phase if job.status == "running" else job.status
    steps = (
        f" step {at.step}/{at.total_steps}" if at.total_steps and job.status == "running" else ""
    )
    losses = (
        f" forget {at.forget_loss:.3f} remember {at.remember_loss:.3f}"
        if at.forget_loss is not None and at.remember_loss is not None
        else ""
    )
    return f"{phase}{steps}{losses}"
