"""`lethe jobs`: what runs, what ran."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from lethe.console import AsJson, note, show, table


def jobs(
    job_id: Annotated[str | None, typer.Argument(metavar="ID", help="One job.")] = None,
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs, or show one.

    Example: `lethe jobs --status running`
    """
    from lethe.client import Client
    from lethe.watch import words

    with Client() as client:
        one = client.job(job_id) if job_id is not None else None
        found = [one] if one else list(islice(client.jobs(status=status), limit))
        for warning in client.warnings():
            note(warning)
    rows = [
        (job.id, job.model, job.status, f"{job.progress.fraction:.0%}", words(job), job.error)
        for job in found
    ]
    headers = ("id", "model", "status", "done", "where", "error")
    value = one.plain() if one else [job.plain() for job in found]
    show(value, as_json, lambda: table(headers, rows))
