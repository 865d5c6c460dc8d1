"""What can be asked of `bench.paper`: each experiment by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench._paper import sweeps
from bench._paper.measures import Figures, over_seeds
from bench._paper.methods import LEAN, available, row
from bench._paper.options import Options
from bench._paper.scenes import Kind
from bench._paper.tables import PRINTED

Rows = list[dict[str, Any]]


def compare(
    options: Options,
    kind: Kind,
    size: float,
    methods: Sequence[str],
) -> Rows:
    """A row for each method: its figures' mean and spread over the seeds."""
    runs: dict[str, list[Figures]] = {method: [] for method in methods}
    for seed in options.seeds:
        scene = options.scene(kind, size, seed)
        for method in methods:
            options.say(f"{kind} {size:g}, seed {seed}: {method}")
            found = row(scene, method)
            runs[method].append(found)
            options.keep({"kind": kind, "size": size, "seed": seed, "method": method} | found)
    return [{"method": method} | over_seeds(figures) for method, figures in runs.items()]


def table2(options: Options) -> dict[str, Any]:
    """Table II: a trigger on 6 % of the training set, every method."""
    methods = [*available(), LEAN]
    if options.dataset == "cifar10" and options.images:
        methods = ["origin", "retrain", "rfu_ss"]  # the full schedule is lean there
    rows = compare(options, "trigger", 0.06, methods)
    for found in rows:
        printed = PRINTED.get(("table2", options.dataset, found["method"]))
        if printed:
            found["printed"] = printed
    return {"rows": rows}


REQUESTS: tuple[tuple[Kind, float], ...] = (
    ("trigger", 0.06),
    ("ordinary", 300),
    ("ordinary", 3600),
    ("wrong_labels", 300),
    ("memorised", 300),
    ("mixed", 300),
    ("ordinary", 30),
    ("ordinary", 10),
    ("ordinary", 1),
)


def requests(options: Options) -> dict[str, Any]:
    """Requests of other kinds and sizes: before, the default method, retraining."""
    rows: Rows = []
    for kind, size in REQUESTS:
        if options.dataset == "digits":
            size = size if size < 1 else max(1, round(size / 15))
        for found in compare(options, kind, size, ["origin", "rfu_ss", "retrain", LEAN]):
            rows.append({"scene": f"{kind} {size:g}"} | found)
    return {"rows": rows}


EXPERIMENTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "table2": table2,
    "requests": requests,
    **dict.fromkeys(sweeps.SWEEPS, sweeps.run),
}
