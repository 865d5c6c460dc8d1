"""`lethe worker`: the process that carries erasure jobs out."""

from __future__ import annotations

from typing import Annotated

import typer

from lethe.stopping import Terminated


def worker(
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Take jobs of these classes of models only, such as small,gpu; by default "
            "LETHE_WORKER_CLASSES, or all.",
        ),
    ] = None,
) -> None:
    """Run jobs until Ctrl-C; start as many as there are machines for them.

    Example: `lethe worker --classes gpu`
    """
    try:
        from core.settings import read_settings
        from lethe.home import opened_with
        from worker.app import main

        settings = read_settings(**({} if classes is None else {"worker_classes": classes}))
        with opened_with(settings):  # brings the embedded database up to date, or says what to do
            pass
        status = main(settings)
    except (Terminated, KeyboardInterrupt):  # it was still starting, and held nothing
        status = 0
    raise typer.Exit(status)
