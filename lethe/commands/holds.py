"""`lethe holds`: what may not be erased, placed and released by a reviewer."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import Invalid
from lethe import named_samples
from lethe.console import AsJson, show, table
from lethe.named_samples import SamplesFile

app = typer.Typer(help="Legal holds: place, list, release.", no_args_is_help=True)


@app.command("place")
def place(
    model: Annotated[str, typer.Argument(help="A model that was trained on the samples.")],
    reason: Annotated[str, typer.Option(help="Why they must be kept; it is in the record.")],
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="The data subject whose samples to keep.")
    ] = None,
    samples: SamplesFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep a subject's samples, or those named in a file, from being erased.

    Open requests that would erase any of them are refused now, later ones when they come. What is
    being erased already can no longer be held, and the command says so.

    Example: `lethe holds place digits --subject subject-7 --reason "case 3 O 17/26"`
    """
    from lethe.client import Client

    if (subject is None) == (samples is None):
        raise Invalid("give one of --subject and --samples")
    named = named_samples.read(samples) if samples is not None else None
    with Client() as client:
        hold = client.hold(model, reason, subject_id=subject, sample_ids=named)
    found = f"{hold.sample_count} samples are kept until it is released"
    if hold.of_subject and not hold.sample_count:
        # A misspelt subject is held as readily as one whose samples are still to come.
        found = "no sample is of this subject now; any that comes is kept"
    show(hold.plain(), as_json, f"Hold {hold.id} is in force: {found}")


@app.command("list")
def list_(
    in_force: Annotated[
        bool, typer.Option("--in-force", help="Only those that are not released.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the holds, newest first, the released ones too. None names a person.

    Example: `lethe holds list --in-force`
    """
    from lethe.client import Client

    with Client() as client:
        found = [hold.plain() for hold in client.holds(in_force=in_force or None)]
    fields = ("id", "model", "sample_count", "placed_at", "reason", "released_at", "release_reason")
    headers = ("id", "model", "samples", "placed", "reason", "released", "why released")
    rows = [[hold[field] for field in fields] for hold in found]
    show(found, as_json, lambda: table(headers, rows))


@app.command("release")
def release(
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="The hold.")],
    reason: Annotated[str, typer.Option(help="Why it ends; it is in the record.")],
    as_json: AsJson = False,
) -> None:
    """End a hold. What was refused because of it is not taken up again: ask anew.

    Example: `lethe holds release hold_01jz... --reason "the judgment is final"`
    """
    from lethe.client import Client

    with Client() as client:
        hold = client.release_hold(hold_id, reason)
    show(hold.plain(), as_json, f"Hold {hold.id} is released: requests are taken in again")
