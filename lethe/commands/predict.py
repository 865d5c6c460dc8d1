"""`lethe predict`: ask a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lethe.console import AsJson, show, table


def predict(
    model: Annotated[str, typer.Argument(help="The model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG files.")],
    as_json: AsJson = False,
) -> None:
    """Classify pictures; each is brought to the model's size and colours.

    Example: `lethe predict digits seven.png`
    """
    from lethe.client import Client

    with Client() as client:
        answer = client.predict(model, images=[path.read_bytes() for path in images])
    rows = [
        (path, each.label, f"{each.probability:.3f}", answer.version)
        for path, each in zip(images, answer.predictions, strict=True)
    ]
    show(answer.plain(), as_json, lambda: table(("image", "label", "probability", "version"), rows))
