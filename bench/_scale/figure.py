"""Job time, compaction and memory over the size of the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel for CPU seconds, one for memory; a line for each way in which people lie."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for how in dict.fromkeys(row["erased"] for row in rows):
        mine = [row for row in rows if row["erased"] == how]
        sizes = [row["samples"] for row in mine]
        time.plot(sizes, [row["cpu_seconds"] for row in mine], "o-", label=f"job, {how}")
        compaction = [row["compaction_cpu_seconds"] for row in mine]
        time.plot(sizes, compaction, "x--", label=f"compaction, {how}")
        memory.plot(sizes, [row["peak_mb"] for row in mine], "o-", label=how)
    for axes, what in ((time, "CPU seconds"), (memory, "peak MB")):
        axes.set(xscale="log", xlabel="samples in the data set", ylabel=what, ylim=(0, None))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
