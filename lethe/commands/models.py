"""`lethe models`: what is served, what came before, and a model from elsewhere."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core.errors import Invalid
from lethe.commands.policy import policy
from lethe.console import AsJson, progress, show, table


class _ListsByDefault(TyperGroup):
    """`lethe models` and `lethe models NAME` are short for `lethe models list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListsByDefault,
    help="Models: list them, set their policy, import one. `lethe models NAME` is short for "
    "`lethe models list NAME`."
    "\n\nExample: `lethe models digits`",
)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the models, or one model's versions. The word `list` may be left out.

    Example: `lethe models list digits`
    """
    from lethe.client import Client

    with Client() as client:
        if name is None:
            found = [model.plain() for model in client.models()]
            lines = [
                (m["name"], m.get("dataset"), (m.get("serving") or {}).get("version"), _least(m))
                for m in found
            ]
            headers = ("name", "data set", "serves version", "drift budget left")
            show(found, as_json, lambda: table(headers, lines))
            return
        model, versions = client.model(name).plain(), client.versions(name)
    plain = [version.plain() for version in versions]
    rows = [
        (
            v["version"],
            v["state"],
            v["digest"][:12],
            v["parent"],
            v.get("job_id") or v.get("metrics", {}).get("origin"),
            ", ".join(v["tainted_by"]) or None,
        )
        for v in plain
    ]

    def human() -> None:
        table(("version", "state", "digest", "parent", "made by", "remembers"), rows)
        if left := _left(model):
            named = ", ".join(f"{name.replace('_', ' ')} {s:.0%}" for name, s in left.items())
            typer.echo(f"Left of the drift budget: {named}")
        if planted := model.get("canaries"):
            typer.echo(f"Left of {planted['groups']} canary groups: {planted['left']}")

    show({**model, "versions": plain}, as_json, human)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    weights: Annotated[
        Path, typer.Option(metavar="FILE.safetensors", help="The weights of a VIB.")
    ],
    dataset: Annotated[str, typer.Option(help="Data set that it was trained on.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="mnist-mlp, cifar-resnet18 or digits-mlp: its architecture, where the file does "
            "not say, and how it is retrained."
        ),
    ] = None,
    trained_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When its training read the samples (RFC 3339); needed once some were erased.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a VIB that was trained elsewhere. Its shape and its accuracy are checked.

    Example: `lethe models import shop --weights vib.safetensors --dataset digits`
    """
    from lethe.home import opened
    from worker.adopt import import_model

    with opened() as backend, progress(f"Importing {name}") as advance:
        result = import_model(
            backend,
            name,
            weights,
            dataset,
            preset=preset,
            trained_at=_moment(trained_at) if trained_at else None,
            device=backend.settings.device,
            on_progress=lambda what, share: advance(share, what),
        )
    metrics = result["metrics"]
    show(
        result,
        as_json,
        f"Model {name}, version {result['version']}, {result['state']}; {metrics['origin']}; "
        f"test accuracy {metrics['test_accuracy']:.3f}, "
        f"held-out accuracy {metrics['heldout_accuracy']:.3f}",
    )


app.command("policy")(policy)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid(f"--trained-at {text!r} is not like 2026-05-01T12:00:00Z")
    return found


def _left(model: dict[str, Any]) -> dict[str, float]:
    """What is left of each limit of the drift budget, a share; empty while nothing is served."""
    return (model.get("drift") or {}).get("left") or {}


def _least(model: dict[str, Any]) -> str | None:
    """The limit of which least is left."""
    left = _left(model)
    if not left:
        return None
    name = min(left, key=lambda each: left[each])
    return f"{left[name]:.0%} ({name.replace('_', ' ')})"
