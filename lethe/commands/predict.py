"""`lethe predict`: ask a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import LetheError
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
    from lethe.pictures import fit

    with Client() as client:
        shape = (client.model(model).model_extra or {}).get("input_shape")
        if not shape:
            raise LetheError(f"the service does not say what pictures {model} takes")
        inputs = [fit(path.read_bytes(), str(path), tuple(shape)) for path in images]
        answer = client.predict(model, inputs)
    rows = [
        (path, each.label, f"{each.probability:.3f}", answer.version)
        for path, each in zip(images, answer.predictions, strict=True)
    ]
    show(answer.plain(), as_json, lambda: table(("image", "label", "probability", "version"), rows))
