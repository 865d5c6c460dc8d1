"""`lethe models policy`: what a model's policy is, and changing it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from lethe.console import AsJson, show, table

_DEFAULT = "default"


def policy(
    name: Annotated[str, typer.Argument(help="The model.")],
    inconclusive: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What a verdict does that neither passes nor fails: publish, retrain or review.",
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A limit of the gates, such as auc_band=0.05; may be given several times. "
            "NAME=default resets it.",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A limit of the drift budget (erased_share, jobs, accuracy_lost, days), such as "
            "jobs=20; may be given several times.",
        ),
    ] = None,
    scheduling: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="How its jobs are scheduled (class, tenant, weight, memory_mb), such as "
            "class=gpu; may be given several times.",
        ),
    ] = None,
    relearning: Annotated[
        bool | None,
        typer.Option(help="Test whether the erased is learned again faster than fresh samples."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's policy, or change it. A change takes effect with the next job.

    Example: `lethe models policy digits --inconclusive review --threshold auc_band=0.05`
    """
    from core.policy import settings
    from lethe.client import Client

    change: dict[str, Any] = {}
    if inconclusive is not None:
        change["inconclusive"] = None if inconclusive == _DEFAULT else inconclusive
    if relearning is not None:
        change["relearning"] = relearning
    for part, option, given in (
        ("thresholds", "--threshold", threshold),
        ("budget", "--budget", budget),
    ):
        if given:
            change[part] = dict(_pair(option, text) for text in given)
    if scheduling:
        change["scheduling"] = dict(_named(text) for text in scheduling)
    with Client() as client:
        model = client.change_policy(name, **change) if change else client.model(name)
    found = settings(model.policy)
    defaults = {each["setting"]: each["default"] for each in model.policy_deviations}

    def human() -> None:
        rows = [
            (setting, _shown(value), _shown(defaults[setting]) if setting in defaults else None)
            for setting, value in found.items()
        ]
        table(("setting", "in force", "default, where it differs"), rows)
        if change:
            typer.echo("In force from the next job on.")

    show({"policy": model.policy, "deviations": model.policy_deviations}, as_json, human)


def _pair(option: str, text: str) -> tuple[str, float | None]:
    """NAME=VALUE; None for the default."""
    name, equals, value = text.partition("=")
    if equals and value == _DEFAULT:
        return name, None
    try:
        return name, int(value) if value.isdigit() else float(value)
    except ValueError:
        raise Invalid(f"{option} {text!r} is not NAME=VALUE, as in auc_band=0.05") from None


def _named(text: str) -> tuple[str, str | float | None]:
    """NAME=VALUE where the value may be a name."""
    name, _, value = text.partition("=")
    if name in ("class", "tenant") and value and value != _DEFAULT:
        return name, value
    return _pair("--scheduling", text)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
