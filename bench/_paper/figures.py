"""Figures: small panels, one for each measure, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NAMES = {
    "test_accuracy": "test accuracy, %",
    "remaining_accuracy": "accuracy on remaining, %",
    "erased_accuracy": "accuracy on erased, %",
    "backdoor_accuracy": "trigger works, %",
    "trigger_undone": "trigger undone, %",
    "membership_auc": "membership AUC",
}
_STYLES = {
    "origin": ("black", ":", "none", "before"),
    "retrain": ("black", "--", "none", "retrained"),
    "rfu_ss": ("#0072b2", "-", "o", "RFU-SS, calibrated"),
    "rfu_ss_paper": ("#d55e00", "-", "s", "RFU-SS as printed"),
    "rfu": ("#e69f00", "-", "^", "RFU alone"),
    "fine_tune": ("#009e73", "-", "v", "fine-tuning"),
}


def draw(
    path: Path,
    title: str,
    x: str,
    rows: Sequence[Mapping[str, Any]],
    shown: Sequence[str],
    logarithmic: bool,
) -> None:
    """Draw `shown` against the rows' "x", mean and spread over seeds, into a PNG at `path`."""
    import matplotlib as mpl  # only figures need it

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.1), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        scale = 1.0 if name == "membership_auc" else 100.0
        for method, (colour, line, marker, label) in _STYLES.items():
            mine = [row for row in rows if row["method"] == method and row[name] is not None]
            if not mine:
                continue
            xs = [row["x"] for row in mine]
            means = [scale * row[name]["mean"] for row in mine]
            spreads = [scale * row[name]["spread"] for row in mine]
            axis.plot(xs, means, line, color=colour, marker=marker, markersize=3.5, label=label)
            low = [m - s for m, s in zip(means, spreads, strict=True)]
            high = [m + s for m, s in zip(means, spreads, strict=True)]
            axis.fill_between(xs, low, high, color=colour, alpha=0.12, linewidth=0)
        if logarithmic:
            axis.set_xscale("log")
        axis.set_xlabel(x)
        axis.set_ylabel(_NAMES[name])
        axis.grid(alpha=0.25)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=len(labels), frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
