"""`lethe models`: what is served, and what came before."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lethe.console import AsJson, show, table


def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the models, or one model's versions.

    Example: `lethe models digits`
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
        model, versions = client.model(name), client.versions(name)
    rows = [
        (v.version, v.state, v.digest[:12], v.parent, ", ".join(v.tainted_by) or None)
        for v in versions
    ]

    def human() -> None:
        table(("version", "state", "digest", "parent", "remembers"), rows)
        if left := _left(model.plain()):
            named = ", ".join(f"{name.replace('_', ' ')} {s:.0%}" for name, s in left.items())
            typer.echo(f"Left of the drift budget: {named}")

    show({**model.plain(), "versions": [version.plain() for version in versions]}, as_json, human)


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
