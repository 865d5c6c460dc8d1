"""Rows as a table for people, beside what the paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What the paper's Table II prints for RFU-SS on MNIST with 6 % erased. Its seconds were
# computed from a number of steps, not timed.
PRINTED: dict[tuple[str, str, str], dict[str, float]] = {
    ("table2", "mnist", "rfu_ss_paper"): {
        "test_accuracy": 0.9744,
        "backdoor_accuracy": 0.002,
        "seconds": 0.33,
    }
}

_COLUMNS = {
    "test_accuracy": "test %",
    "backdoor_accuracy": "backdoor %",
    "trigger_undone": "undone %",
    "remaining_accuracy": "remaining %",
    "erased_accuracy": "erased %",
    "true_label_accuracy": "true label %",
    "membership_auc": "AUC",
    "output_kl_to_retrain": "KL y",
    "representation_kl_to_retrain": "KL z",
    "relearn": "relearned %",
    "steps": "steps",
    "seconds": "seconds",
    "teacher_seconds": "teacher s",
}

_LONG = 1e5  # nats of KL z: a representer that learns hardly any noise is far from all others


def table(rows: Sequence[Mapping[str, Any]], key: str = "method") -> str:
    """The rows in aligned columns, mean +- spread; columns that no row has are left out."""
    names = [n for n in _COLUMNS if any(row.get(n) for row in rows)]
    lines = [[key, *(_COLUMNS[n] for n in names)]]
    for row in rows:
        lines.append([str(row[key]), *(_cell(n, row.get(n)) for n in names)])
        printed = row.get("printed")
        if printed:
            told = (_number(n, printed[n]) if n in printed else "" for n in names)
            lines.append(["  the paper prints", *told])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(name: str, figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    return f"{_number(name, figure['mean'])} ±{_number(name, figure['spread'])}"


def _number(name: str, value: float) -> str:
    if _COLUMNS[name].endswith("%"):
        return f"{100 * value:.2f}"
    if name == "steps":
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < _LONG else f"{value:.1e}"
