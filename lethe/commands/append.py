"""`lethe dataset append`: new samples into a data set that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lethe.console import AsJson, note, progress, show


def append(
    name: Annotated[str, typer.Argument(help="The data set.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="digits | mnist:DIR | cifar10:DIR | folder:DIR | parquet:FILE",
        ),
    ],
    prefix: Annotated[
        str,
        typer.Option(
            help="Put before each sample id, so that it is new; and before the names of subjects "
            "that the source does not name."
        ),
    ] = "",
    samples_per_subject: Annotated[
        int,
        typer.Option(help="Without a subject column: consecutive samples of one data subject."),
    ] = 10,
    subjects: Annotated[
        Path | None,
        typer.Option(
            metavar="MAP.csv",
            help="Whose each sample is: sample_id,subject_id, with the source's own ids.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Append new samples: all of them, or none. Models see them once they are retrained.

    Example: `lethe dataset append photos --from folder:more --prefix may/`
    """
    from core.appending import Appender
    from core.datasets import models_of
    from lethe.home import opened
    from lethe.sources import Subjected, SubjectMap, open_source

    stream = Subjected(
        open_source(source),
        samples_per_subject=samples_per_subject,
        subjects=SubjectMap(subjects) if subjects else None,
        prefix=prefix,
        numbered=bool(prefix),
    )
    with opened() as backend:
        with progress(f"Appending to {name}") as advance:
            done = Appender(backend.db, backend.samples, backend.identities).run(
                name,
                stream,
                on_progress=lambda seen: advance(seen / stream.total, f"{seen} of {stream.total}"),
            )
        new = any(done.counts.values()) and not done.repeated
        with backend.db.reading() as session:
            found = models_of(session, done.dataset.id) if new else []
        result: dict[str, Any] = {
            "id": done.dataset.id,
            "name": name,
            "appended": done.counts,
            "samples": backend.samples.count(done.dataset.id),
            "skipped": done.skipped,
            "left_out": done.left_out,
            "repeated": done.repeated,
            "unseen_by": sorted(model.name for model in found),
        }
    if done.repeated:
        note("This very append was done before; nothing was done now")
    if done.skipped:
        note(f"{done.skipped} samples were left out: they had been erased, or are about to be")
    if done.left_out:
        note(f"{done.left_out} samples of the source's test split were left out: T stays as it is")
    if result["unseen_by"]:
        named = ", ".join(result["unseen_by"])
        note(f"{named}: what is served has not seen them; the next exact retraining will")
    if new and done.counts["reference"]:
        note("R has grown: the next job of each model makes its teacher again")
    counts = ", ".join(f"{count} {split}" for split, count in done.counts.items() if count)
    show(result, as_json, f"Data set {name}: {counts or 'nothing'} appended")
