"""`lethe train`: a model's first training, in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from lethe.console import AsJson, show


def train(
    model: Annotated[str, typer.Argument(help="Name of the new model.")],
    dataset: Annotated[str, typer.Option(help="Data set to train on.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="mnist-mlp, cifar-resnet18 or digits-mlp; follows from the data's shape."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the preset's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model and serve it.

    Example: `lethe train digits --dataset digits`
    """
    from lethe.home import opened
    from lethe.training import train_shown

    with opened() as backend:
        result = train_shown(backend, model, dataset, preset=preset, seed=seed, epochs=epochs)
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}"
        for name, value in result["metrics"].items()
        if isinstance(value, float)
    )
    show(
        result, as_json, f"Model {model}, version {result['version']}, {result['state']}: {figures}"
    )
