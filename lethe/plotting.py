"""Figures as files. matplotlib is asked for only here, and only when somebody wants one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import LetheError

if TYPE_CHECKING:
    from core.capacity.plan import Figures

_FEW_SECONDS = 1.0


def draw_policies(found: Sequence[Figures], deadline: float, unit: str, path: Path) -> None:
    """Busy hours, workers needed and waits over the batch window; raises `LetheError`."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise LetheError(
            "--plot needs matplotlib, which is not installed: `pip install matplotlib`"
        ) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    found = sorted(found, key=lambda each: (each.batching.seconds, each.batching.requests))
    names = [window(each.batching.seconds) for each in found]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.bar(names, [each.hours for each in found], color="tab:blue")
    left.set(yscale="log", xlabel="batch window", title=f"{unit}-hours a day")
    for number, each in enumerate(found):
        needed = "late" if each.workers_needed is None else f"{each.workers_needed} {unit}"
        left.annotate(needed, (number, each.hours), ha="center", va="bottom", fontsize=8)
    for label, waits in (
        ("p50", [each.p50 for each in found]),
        ("p99", [each.p99 for each in found]),
    ):
        right.plot(names, [max(_FEW_SECONDS, wait) / 3600 for wait in waits], "o-", label=label)
    right.axhline(deadline / 3600, color="tab:red", linestyle="--", label="deadline")
    right.set(yscale="log", xlabel="batch window", title="hours from receipt to erasure")
    right.legend()
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:  # an unknown ending
        raise LetheError(f"--plot {path}: {error}") from None
    finally:
        pyplot.close(figure)


def window(seconds: float) -> str:
    """A batch window as people say it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
