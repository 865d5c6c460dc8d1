"""`lethe erase`: ask that a model forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import Invalid, LetheError, Unavailable
from lethe import named_samples
from lethe.console import AsJson, note, progress, show
from lethe.named_samples import SamplesFile


def erase(
    model: Annotated[str, typer.Argument(help="The model.")],
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="The data subject who asks.")
    ] = None,
    samples: SamplesFile = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Many subjects: a CSV file with the columns subject_id and, as wanted, "
            "external_id, regulation, callback_url, strategy.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What became of each line; FILE.results.csv if not set."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="rfu_ss (default), rfu_ss_paper or retrain.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask that a model forget a subject, many subjects, or the samples named in a file.

    A CSV file that broke off half-way may be sent again by the same command: what was taken in is
    not taken in twice.

    Example: `lethe erase digits --subject subject-7 --wait`
    """
    from lethe.client import Client
    from lethe.watch import watch

    if [subject, samples, csv].count(None) != 2:
        raise Invalid("give one of --subject, --samples and --csv")
    if csv is not None:
        if wait or strategy is not None:
            raise Invalid("--csv goes without --wait and --strategy: it has a column strategy")
        _erase_many(model, csv, results or csv.with_suffix(".results.csv"), as_json)
        return
    named = named_samples.read(samples) if samples is not None else None
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


def _erase_many(model: str, path: Path, results: Path, as_json: bool) -> None:
    from lethe.client import Client
    from lethe.sheet import Sheet, send

    sheet = Sheet(path)
    with Client() as client, progress(f"Asking for {sheet.count} people") as advance:
        try:
            sent = send(client, model, sheet, results, advance)
        except (KeyboardInterrupt, Unavailable):
            note("Not all was sent. The same command goes on where it was.")
            raise
    show(
        {"accepted": sent.accepted, "refused": sent.refused, "results": str(results)},
        as_json,
        f"{sent.accepted} of {sheet.count} requests taken in; {results} has their ids",
    )
    if sent.refused:
        raise LetheError(f"{sent.refused} of {sheet.count} lines were refused; {results} says why")
