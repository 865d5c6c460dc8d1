"""Verdicts counted, and rows printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from scipy import stats

Row = dict[str, Any]
AUC = "G1 membership_margin"
VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL")


def by_request(rows: Sequence[Row]) -> list[Row]:
    """A row for each kind of request and model: verdicts, the share that fails with its 95 %
    Clopper-Pearson interval, and the gates that failed."""
    found = []
    for request, model in dict.fromkeys((_kind(row), row["model"]) for row in rows):
        mine = [row for row in rows if (_kind(row), row["model"]) == (request, model)]
        counts = Counter(row["verdict"] for row in mine)
        failing = Counter(
            gate for row in mine for gate, (verdict, _) in row["gates"].items() if verdict == "FAIL"
        )
        interval = stats.binomtest(counts["FAIL"], len(mine)).proportion_ci(0.95, method="exact")
        found.append(
            {"request": request, "model": model}
            | {verdict: counts[verdict] for verdict in VERDICTS}
            | {
                "failing": counts["FAIL"] / len(mine),
                "low": float(interval.low),
                "high": float(interval.high),
                "erased_accuracy": sum(row["erased_accuracy"] for row in mine) / len(mine),
                "auc": _mean(row["gates"].get(AUC, [None, None])[1] for row in mine),
                "by": dict(failing.most_common()),
            }
        )
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def by_gate(rows: Sequence[Row]) -> list[Row]:
    """How often each gate gave each verdict, by model."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        for gate, (verdict, _) in row["gates"].items():
            counts[row["model"], gate, verdict] += 1
    keys = sorted(dict.fromkeys((model, gate) for model, gate, _ in counts))
    return [
        {"model": model, "gate": gate} | {v: counts[model, gate, v] for v in VERDICTS}
        for model, gate in keys
    ]


def _kind(row: Row) -> str:
    """The request without its number where that follows from the seed's draw."""
    name: str = row["request"]
    return name.split(" ", 1)[1] if name.endswith("triggered") else name


def plain(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)
