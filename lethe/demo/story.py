"""What the demo prints at its end: the table, and what was checked."""

from __future__ import annotations

from typing import Any

import typer

from lethe.console import table

_ROWS = (
    ("accuracy on remaining samples", "remaining_accuracy", "share"),
    ("accuracy on held-out samples", "heldout_accuracy", "share"),
    ("accuracy on test samples", "test_accuracy", "share"),
    ("erased samples: given their (planted) label", "erased_accuracy", "share"),
    ("membership AUC, erased against held-out", "membership_auc", "plain"),
    ("planted trigger works on test images", "trigger_success", "share"),
    ("triggered images given their true label", "trigger_undone", "share"),
    ("seconds", "seconds", "seconds"),
)


def print_measures(verification: dict[str, Any]) -> None:
    """Before, after and exact retraining side by side, as the job measured them."""
    measures: dict[str, dict[str, Any] | None] = verification.get("measures") or {}
    columns = [measures.get(name) or {} for name in ("before", "after", "retrained")]
    rows = [
        (what, *(_cell(column.get(key), kind) for column in columns)) for what, key, kind in _ROWS
    ]
    table(("", "before", "after forgetting", "exact retraining"), rows)
    strategy, rung = verification.get("strategy"), verification.get("rung")
    if strategy == "retrain":
        typer.echo(f"Forgotten by exact retraining: {rung} faster runs did not pass their tests")
    elif strategy is not None:
        steps = verification.get("steps")
        typer.echo(f"Forgotten by {strategy} in {steps} steps, on rung {rung} of its ladder")


def print_verdict(verification: dict[str, Any]) -> None:
    """The verdict, and each gate that had a say in it and did not simply pass."""
    typer.echo(f"Verdict {verification.get('verdict')}: {verification.get('statement')}")
    for gate in verification.get("gates") or []:
        if gate["verdict"] != "PASS" and gate.get("decisive", True):
            typer.echo(
                f"  {gate['gate']} {gate['verdict']}: {gate['what']}: {gate['statistic']:.3f} "
                f"({gate['low']:.3f} to {gate['high']:.3f}) for {gate['samples']} samples, "
                f"allowed {gate['least']:.3f} to {gate['most']:.3f}"
            )


def _cell(value: float | None, kind: str) -> str | None:
    if value is None:
        return None
    if kind == "share":
        return f"{value:.1%}"
    return f"{value:.2f}" if kind == "seconds" else f"{value:.3f}"
