"""`lethe erase`: ask that a model forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import Invalid, LetheError
from lethe.console import AsJson, note, show


def erase(
    model: Annotated[str, typer.Argument(help="The model.")],
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="The data subject who asks.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sample ids, one a line; - reads stdin.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="rfu_ss (default), rfu_ss_paper or retrain.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask that a model forget a subject, or the samples named in a file.

    Example: `lethe erase digits --subject subject-7 --wait`
    """
    from lethe.client import Client
    from lethe.watch import watch

    if (subject is None) == (samples is None):
        raise Invalid("give either --subject or --samples")
    named = _read(samples) if samples is not None else None
    with Client() as client:
        request = client.erase(model, subject_id=subject, sample_ids=named, strategy=strategy)
        if not wait:
            line = f"Request {request.id} is {request.status}"
            follow = f"; follow it with `lethe jobs {request.job_id}`" if request.job_id else ""
            show(request.plain(), as_json, line + follow)
            return
        note(f"Request {request.id}: {request.sample_count} samples, due {request.due_at}")
        request, jobs = watch(client, request)
    show(
        {**request.plain(), "jobs": [job.plain() for job in jobs]},
        as_json,
        f"Request {request.id} is {request.status}: {request.outcome or 'no outcome yet'}",
    )
    if request.status != "completed":
        why = next((job.error for job in jobs if job.error), None)
        raise LetheError(f"request {request.id} is {request.status}" + (f": {why}" if why else ""))


def _read(path: Path) -> list[str]:
    text = typer.get_text_stream("stdin").read() if str(path) == "-" else path.read_text()
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise Invalid(f"{path} names no sample")
    return names
