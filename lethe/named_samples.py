"""Sample ids that somebody names to a command, one a line of a file or of what is piped in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import Invalid

SamplesFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Sample ids, one a line; - reads stdin.")
]


def read(path: Path) -> list[str]:
    """The ids in this file, or in stdin when it is `-`; raises `Invalid` when there is none."""
    text = typer.get_text_stream("stdin").read() if str(path) == "-" else path.read_text()
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise Invalid(f"{path} names no sample")
    return names
