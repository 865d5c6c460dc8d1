"""`lethe worker`: the process that carries erasure jobs out."""

from __future__ import annotations

import typer

from lethe.stopping import Terminated


def worker() -> None:
    """Run jobs until Ctrl-C; start as many as there are machines for them.

    Example: `lethe worker`
    """
    try:
        from core.settings import read_settings
        from lethe.home import opened_with
        from worker.app import main

        settings = read_settings()
        with opened_with(settings):  # brings the embedded database up to date, or says what to do
            pass
        status = main(settings)
    except (Terminated, KeyboardInterrupt):  # it was still starting, and held nothing
        status = 0
    raise typer.Exit(status)
