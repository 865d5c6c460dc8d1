"""`lethe serve`: the HTTP service."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    role: Annotated[
        str, typer.Option(help="all, api (no inference) or inference (nothing else).")
    ] = "all",
) -> None:
    """Serve the API and the predictions until Ctrl-C.

    Example: `lethe serve --port 8000`
    """
    from lethe.server import run

    run(host, port, workers, role)
