"""Figs. 4 to 9 of the paper: one quantity varied, each method's figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench._paper.figures import draw
from bench._paper.measures import over_seeds
from bench._paper.methods import available, row
from bench._paper.options import Options
from bench._paper.scenes import Kind

_RATIOS = (0.02, 0.04, 0.06, 0.08, 0.10)
_STEPS = (10, 20, 30, 40, 60, 80, 110, 150, 200)
_RATES = (3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2)
_ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)


@dataclass(frozen=True)
class Sweep:
    """title, x: for people. points: the values of x; quick_points: of a quick run. methods:
    those compared. kind, size, config: the request and the configuration at a value of x, by
    method. shown: the figures drawn.
    """

    title: str
    x: str
    points: Sequence[float]
    quick_points: Sequence[float]
    methods: Sequence[str]
    shown: Sequence[str]
    kind: Kind = "trigger"
    size: Callable[[float], float] = lambda _x: 0.06
    config: Callable[[str, float], Mapping[str, Any] | None] = lambda _method, _x: None
    logarithmic: bool = False


def _at_step(method: str, x: float) -> Mapping[str, Any] | None:
    """A run of x steps; "origin" and "retrain" have none, and are level lines."""
    if method in ("origin", "retrain"):
        return None
    return {"steps": int(x)} | ({"stop_accuracy": 0.0} if method in ("rfu", "rfu_ss_paper") else {})


def _at_rate(method: str, x: float) -> Mapping[str, Any] | None:
    return {"lr": x} if method != "retrain" else None


def _at_alpha(method: str, x: float) -> Mapping[str, Any] | None:
    if method == "retrain":
        return None
    return {"weighting": "fixed", "fixed_alpha": x}


_TRIGGER = ("test_accuracy", "backdoor_accuracy", "trigger_undone")

SWEEPS: dict[str, Sweep] = {
    "fig4": Sweep(
        "Fig. 4: the share of the training set that is erased", "erased share",
        _RATIOS, (0.02, 0.06), ("origin", "rfu_ss", "rfu_ss_paper", "retrain"), _TRIGGER,
        size=lambda x: x,
    ),
    "fig5": Sweep(
        "Fig. 5: from step to step", "steps",
        _STEPS, (20, 110), ("origin", "rfu", "rfu_ss", "rfu_ss_paper", "retrain"), _TRIGGER,
        config=_at_step,
    ),
    "fig6": Sweep(
        "Fig. 6: the unlearning rate (Adam's)", "rate",
        _RATES, (1e-3, 5e-3), ("rfu_ss", "rfu_ss_paper", "retrain"), _TRIGGER,
        config=_at_rate, logarithmic=True,
    ),
    "fig7": Sweep(
        "Fig. 7: forgetting against remembering (a fixed weight alpha)", "alpha",
        _ALPHAS, (0.1, 0.5), ("rfu_ss", "rfu_ss_paper", "retrain"), _TRIGGER,
        config=_at_alpha,
    ),
    "fig8": Sweep(
        "Fig. 8: accuracy won back by remembering", "steps",
        _STEPS, (20, 110), ("origin", "rfu", "rfu_ss", "fine_tune", "retrain"),
        ("test_accuracy", "remaining_accuracy"), config=_at_step,
    ),
    "fig9": Sweep(
        "Fig. 9: ordinary samples", "erased share",
        _RATIOS, (0.02, 0.06), ("origin", "rfu_ss", "rfu_ss_paper", "retrain"),
        ("test_accuracy", "erased_accuracy", "membership_auc"), kind="ordinary",
        size=lambda x: x,
    ),
}  # fmt: skip


def run(options: Options) -> dict[str, Any]:
    """The rows, one for each method and value of x, and the PNG that they were drawn into."""
    sweep = SWEEPS[options.experiment]
    points = sweep.quick_points if options.quick else sweep.points
    methods = [m for m in sweep.methods if m in available()]
    rows: list[dict[str, Any]] = []
    for x in points:
        runs: dict[str, list[Any]] = {method: [] for method in methods}
        for seed in options.seeds:
            scene = options.scene(sweep.kind, sweep.size(x), seed)
            for method in methods:
                options.say(f"{sweep.x} {x:g}, seed {seed}: {method}")
                config = sweep.config(method, x)
                runs[method].append(row(scene, method, config, climb=config is None))
        scene_name = f"{sweep.x} {x:g}"
        rows += [
            {"scene": scene_name, "x": x, "method": method} | over_seeds(found)
            for method, found in runs.items()
        ]
    path = options.figures / f"{options.experiment}-{options.dataset}.png"
    draw(path, f"{sweep.title} ({options.dataset})", sweep.x, rows, sweep.shown, sweep.logarithmic)
    return {"rows": rows, "figures": [str(path)]}
