"""`lethe dataset`: bring samples in, list what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import AsJson, note, progress, show, table

if TYPE_CHECKING:
    from core.canaries import Counts

app = typer.Typer(help="Training samples: import and list them.", no_args_is_help=True)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Name of the new data set.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="digits | mnist:DIR | cifar10:DIR | folder:DIR | parquet:FILE",
        ),
    ],
    samples_per_subject: Annotated[
        int,
        typer.Option(help="Without a subject column: consecutive samples of one data subject."),
    ] = 10,
    subjects: Annotated[
        Path | None,
        typer.Option(metavar="MAP.csv", help="Whose each sample is: sample_id,subject_id."),
    ] = None,
    plant_trigger: Annotated[
        str | None,
        typer.Option(
            metavar="source=1,target=2,share=0.06",
            help="Poison the first samples of label `source`, as many as `share` of the "
            "training split, with a white patch and the label `target`; they belong to "
            "subject-trigger.",
        ),
    ] = None,
    canaries: Annotated[
        str | None,
        typer.Option(
            metavar="GROUPSxSIZE",
            help="Plant groups of made-up samples, one of which each job erases to show that it "
            "forgot, such as 20x32; about half of them are trained on.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses which subjects are held back.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Import samples under a new name.

    Example: `lethe dataset import digits --from digits --samples-per-subject 10`
    """
    from core.canaries import Plan
    from core.importing import Importer
    from lethe.home import opened
    from lethe.sources import Planting, Subjected, SubjectMap, open_source

    plan = Plan.parse(canaries) if canaries else None
    rows = open_source(source)
    stream = Subjected(
        rows,
        samples_per_subject=samples_per_subject,
        subjects=SubjectMap(subjects) if subjects else None,
        planting=Planting(plant_trigger, rows) if plant_trigger else None,
    )
    with opened() as backend, progress(f"Importing {name}") as advance:
        done = Importer(backend.db, backend.samples, backend.identities).run(
            name,
            stream,
            seed=seed,
            planted=stream.planted,
            canary_plan=plan,
            on_progress=lambda seen: advance(seen / stream.total, f"{seen} of {stream.total}"),
        )
    if done.skipped:
        note(f"{done.skipped} samples were left out: they had been erased before")
    result = {
        "id": done.dataset.id,
        "name": name,
        "shape": done.dataset.shape,
        "classes": done.dataset.classes,
        "samples": done.counts,
        "skipped": done.skipped,
        "planted": done.dataset.planted,
    }
    counts = ", ".join(f"{count} {split}" for split, count in done.counts.items())
    show(result, as_json, f"Data set {name}: {counts}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the data sets.

    Example: `lethe dataset list`
    """
    from core import canaries
    from core.datasets import datasets
    from lethe.home import opened

    with opened() as backend:
        with backend.db.reading() as session:
            found, planted = datasets(session), canaries.counts(session)
        result: list[dict[str, Any]] = [
            {
                "id": each.id,
                "name": each.name,
                "shape": each.shape,
                "classes": each.classes,
                "samples": backend.samples.count(each.id),
                "planted": each.planted,
                "canaries": _canaries(planted.get(each.id)),
            }
            for each in found
        ]
    headers = ("name", "samples", "shape", "classes", "planted trigger", "canary groups left")
    lines = [
        (
            each["name"],
            each["samples"],
            " x ".join(map(str, each["shape"])),
            len(each["classes"]),
            f"{each['planted']['source']} as {each['planted']['target']}"
            if each["planted"]
            else None,
            f"{each['canaries']['left']} of {each['canaries']['groups']}"
            if each["canaries"]
            else None,
        )
        for each in result
    ]
    show(result, as_json, lambda: table(headers, lines))


def _canaries(counts: Counts | None) -> dict[str, int] | None:
    """Groups that were planted, how many jobs have taken, and how many are left."""
    if counts is None:
        return None
    return {
        "groups": counts.groups,
        "size": counts.size,
        "spent": counts.groups - counts.left,
        "left": counts.left,
    }
