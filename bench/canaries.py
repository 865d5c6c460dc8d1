"""What canaries cost in accuracy, and whether a model learns them: `python -m bench.canaries`.

For each plan and seed a model is trained anew, with the canaries among its training samples, and
the coins of every group are guessed from its scores. The plan 0x0 plants none.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from core.canaries import draw
from unlearning import Samples, accuracy, digits, mnist, preset_for, train
from unlearning.verification.label_gates import canary_gate
from unlearning.verification.scores import score
from unlearning.verification.thresholds import Thresholds
from unlearning.vib import VIB


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.canaries",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/")
    parser.add_argument("--plans", default="0x0,10x32,20x32", help="GROUPSxSIZE, ...")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args()
    everything = (digits() if given.dataset == "digits" else mnist(given.data)).samples
    rows = []
    for plan in given.plans.split(","):
        groups, size = map(int, plan.split("x"))
        runs = [
            one(*split(everything, given.dataset, seed), groups, size, seed)
            for seed in range(given.seeds)
        ]
        rows.append({"plan": plan, **summary(runs)})
        if not given.json:
            print("  ".join(f"{name} {shown(value)}" for name, value in rows[-1].items()))
    if given.json:
        print(json.dumps({"dataset": given.dataset, "seeds": given.seeds, "rows": rows}))


def split(everything: Any, dataset: str, seed: int) -> tuple[Samples, Samples]:
    """Training and test samples; the digits have no test split of their own."""
    if dataset == "mnist":
        return everything("train"), everything("test")
    samples = everything()
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    return samples[order[400:]], samples[order[:400]]


def one(
    training: Samples, test: Samples, groups: int, size: int, seed: int
) -> dict[str, float | None]:
    """Test accuracy, and the share of coins guessed right, of one training."""
    drawn = [draw(f"{seed:016x}{i:016x}", size, training.shape, 10) for i in range(groups)]
    planted = [Samples.from_numpy(d.images[d.trained], d.labels[d.trained]) for d in drawn]
    preset = preset_for(training.shape)
    model: VIB = train(
        preset.architecture(training.shape, 10),
        Samples.concat(training, *planted),
        preset.training,
        seed=seed,
    )
    guessed = [
        canary_gate(
            score(model, Samples.from_numpy(d.images, d.labels)).margin, d.trained, Thresholds()
        )
        for d in drawn
    ]
    return {
        "test_accuracy": accuracy(model, test),
        "guessed": statistics.mean(gate.statistic for gate in guessed) if guessed else None,
        "told_from_chance": (
            statistics.mean(gate.verdict == "FAIL" for gate in guessed) if guessed else None
        ),
    }


def summary(runs: list[dict[str, float | None]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    found: dict[str, Any] = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = {"mean": statistics.mean(values), "sd": spread} if values else None
    return found


def shown(value: Any) -> str:
    """A cell of the table."""
    if isinstance(value, dict):
        return f"{value['mean']:.4f} ± {value['sd']:.4f}"
    return str(value)


if __name__ == "__main__":
    main()
