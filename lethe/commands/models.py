"""`lethe models`: what is served, and what came before."""

from __future__ import annotations

from typing import Annotated

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
            lines = [(m["name"], m.get("dataset"), (m.get("serving") or {}).get("version"))
                     for m in found]  # fmt: skip
            show(found, as_json, lambda: table(("name", "data set", "serves version"), lines))
            return
        model, versions = client.model(name), client.versions(name)
    rows = [
        (v.version, v.state, v.digest[:12], v.parent, ", ".join(v.tainted_by) or None)
        for v in versions
    ]
    show(
        {**model.plain(), "versions": [version.plain() for version in versions]},
        as_json,
        lambda: table(("version", "state", "digest", "parent", "remembers"), rows),
    )
