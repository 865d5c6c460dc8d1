"""A sequence's rows over seeds: a table of the tenths, one of the jobs, and a figure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FIGURES = ("test_accuracy", "remaining_accuracy", "erased_accuracy", "auc", "kl_erased", "kl_test")


def tenths(rows: Sequence[Row]) -> list[Row]:
    """For each tenth and model: mean and standard deviation over seeds, and verdicts."""
    found = []
    mine = [row for row in rows if row["row"] == "tenth"]
    for number, model in dict.fromkeys((row["job"], row["model"]) for row in mine):
        of = [row for row in mine if (row["job"], row["model"]) == (number, model)]
        summary: Row = {"job": number, "model": model, "erased": of[0]["erased"]}
        for name in FIGURES:
            summary[name] = _over([row.get(name) for row in of])
        summary["verdicts"] = dict(Counter(row["verdict"] for row in of if "verdict" in row))
        summary["failing"] = dict(Counter(gate for row in of for gate in row.get("failing", ())))
        found.append(summary)
    return sorted(found, key=lambda row: (row["job"], row["model"] == "retrained"))


def jobs(rows: Sequence[Row]) -> list[Row]:
    """For each seed: verdicts of its jobs, rungs climbed, CPU seconds, and the budget's word."""
    found = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        mine = [row for row in rows if row["row"] == "job" and row["seed"] == seed]
        asked = next((row for row in mine if row["asked"]), None)
        found.append(
            {
                "seed": seed,
                "jobs": len(mine),
                "verdicts": dict(Counter(row["verdict"] for row in mine)),
                "climbed": sum(len(row["tried"]) > 1 for row in mine),
                "retrained": sum(row["strategy"] == "retrain" for row in mine),
                "retraining_asked": sum(row["asked"] is not None for row in mine),
                "first_asked_after": asked and asked["job"],
                "by": asked and asked["asked"],
                "cpu_seconds": statistics.median(row["seconds"] for row in mine),
            }
        )
    return found


def _over(values: Sequence[float | None]) -> Row | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    spread = statistics.stdev(there) if len(there) > 1 else 0.0
    return {"mean": statistics.mean(there), "spread": spread}


def plain(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or value == {}:
        return "-"
    if isinstance(value, dict) and "mean" in value:
        return f"{value['mean']:.4f} ±{value['spread']:.4f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Four panels over the jobs: the sequence beside exact retraining."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("Agg")
    panels = {
        "test_accuracy": "accuracy on T",
        "erased_accuracy": "accuracy on all that was erased",
        "auc": "AUC of all that was erased, against H",
        "kl_erased": "KL from retraining on the erased, nats",
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex=True)
    for axis, (name, title) in zip(axes.flat, panels.items(), strict=True):
        for model in ("sequence", "retrained"):
            line = [row for row in rows if row["model"] == model and row[name]]
            axis.errorbar(
                [row["job"] for row in line],
                [row[name]["mean"] for row in line],
                [row[name]["spread"] for row in line],
                label=model,
                capsize=2,
            )
        if name == "auc":
            axis.axhspan(0.4, 0.6, alpha=0.1)
        axis.set_title(title, fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("jobs")
    axes[0][0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
