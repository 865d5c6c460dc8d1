"""`lethe demo`: the whole story, on this machine, in under two minutes."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the result.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Train, serve, forget a subject, show what changed. Works in an emptied var/demo.

    Example: `lethe demo --once`
    """
    from lethe.demo.run import run

    run(once=once, port=port)
