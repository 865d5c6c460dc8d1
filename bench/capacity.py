"""What many models cost, and whether the planner can be believed.

python -m bench.capacity [scenario] [--figures DIR]
python -m bench.capacity measure --dataset digits|mnist [--data DIR] [--keep DIR]
python -m bench.capacity validate [--requests 40] [--seconds 45] [--keep DIR]

scenario: a day of 100,000 requests over 100 models on 8 GPUs, from job costs that `measure` took
(bench/_capacity/*.json). measure: jobs of a real embedded service with one worker, in CPU seconds.
validate: a real sequence of requests under two batch policies, beside what the planner predicts
from costs that were measured before, and from the sequence's own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._capacity.real import beside, calibrate, costs_of, prepare, run
from bench._gates.tables import plain
from core.capacity import plan
from core.capacity.costs import Costs, read
from core.capacity.plan import Group, Prices, Scenario
from core.capacity.simulation import Batching

HERE = Path(__file__).parent / "_capacity"
PEOPLE = 100_000  # in each model's data set, with ten samples each
GPU_PRICE = 2.0  # of an hour; a round number, to compare policies by


def main(arguments: list[str] | None = None) -> int:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="?", choices=("scenario", "measure", "validate"), default="scenario"
    )
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/")
    parser.add_argument("--costs", type=Path, default=HERE / "mnist.json", help="(scenario)")
    parser.add_argument("--requests", type=int, default=40, help="(validate)")
    parser.add_argument("--seconds", type=float, default=45.0, help="they come in (validate)")
    parser.add_argument("--window", type=float, default=5.0, help="the second policy's (validate)")
    parser.add_argument("--keep", type=Path, help="folder for the trained home, for the next run")
    parser.add_argument("--prepare", action="store_true", help="train the home, and no more")
    parser.add_argument("--figures", type=Path, help="folder for the figure (scenario)")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.what == "scenario":
        answer = {"rows": _scenarios(given)}
    else:
        # Its processes end with it, also when it is told to stop.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with tempfile.TemporaryDirectory(prefix="lethe-capacity-") as folder:
            answer = _real(given, given.keep or Path(folder), Path(folder))
    if given.json:
        print(json.dumps(answer))
    elif "rows" in answer:
        print(plain(answer["rows"]))
    else:
        print(json.dumps(answer, indent=2))
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _real(given: argparse.Namespace, kept: Path, folder: Path) -> dict[str, Any]:
    per_subject = 2 if given.what == "validate" else 10
    template = kept / f"{given.dataset}-{per_subject}"
    prepare(template, given.dataset, given.data, per_subject, _say)
    if given.prepare:
        return {"prepared": given.dataset}
    if given.what == "measure":
        sizes = (1, 5, 10, 2, 1) if given.dataset == "digits" else (1, 10, 100, 1, 30)
        clock, cpu = calibrate(template, folder / "run", sizes, _say)
        _say(f"by the clock: {clock.fixed_seconds:.2f} s and {clock.sample_seconds:.4f} a sample")
        return cpu.to_dict()
    load = [round(each, 1) for each in os.getloadavg()]
    before, _ = calibrate(template, folder / "before", (1, 4, 10, 1, 2), _say)
    rng = np.random.default_rng(0)
    moments = np.sort(rng.uniform(0, given.seconds, given.requests)).tolist()
    rows = []
    for batching in (Batching(0.0), Batching(given.window)):
        real = run(template, folder / "run", batching, moments, 100, _say)
        costs = {"predicted": before, "from its own costs": costs_of(folder / "run" / "home")}
        rows += beside(real, batching, costs, seeds=20)
    return {"rows": rows, "load": load, "costs": before.to_dict()}


def _scenarios(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of every policy of each scenario, the cheapest of each marked."""
    costs = _at_size(read(given.costs))
    base = Scenario(
        [Group(100, 100_000, PEOPLE, costs, "mnist-mlp")],
        workers=8,
        prices=Prices(GPU_PRICE),
    )
    (group,) = base.groups
    resnet = replace(
        costs, fixed_seconds=20.0, sample_seconds=0.01, retrain_seconds=3600.0, checkpoint_mb=46.0
    )
    scenarios = {
        "as measured, a month": base,
        "as measured, an hour": replace(base, deadline=3600.0),
        "unequal models, an hour": replace(
            base, deadline=3600.0, groups=[replace(group, skew=1.0)]
        ),
        "ResNet-18 (assumed), a month": replace(base, groups=[replace(group, costs=resnet)]),
        "ResNet-18 (assumed), a day": replace(
            base, groups=[replace(group, costs=resnet)], deadline=86_400.0
        ),
    }
    rows = []
    for name, scenario in scenarios.items():
        policies = [Batching(seconds) for seconds in (*plan.WINDOWS, 1800.0)]
        found = plan.compare(scenario, sorted(policies, key=lambda each: each.seconds))
        best = plan.cheapest(found)
        _say(f"{name}: done")
        rows += [
            {"scenario": name} | _shown(each) | {"cheapest": "*" if each is best else ""}
            for each in found
        ]
        if given.figures:
            from lethe.plotting import draw_policies

            file = f"capacity-{'-'.join(name.replace(',', '').replace('(', '').split()[:2])}"
            if "hour" in name and "unequal" not in name:
                draw_policies(
                    found, scenario.deadline, "GPU", given.figures / f"{file}.png".lower()
                )
    return rows


def _at_size(costs: Costs) -> Costs:
    """The same jobs on a larger data set: only a retraining grows with it."""
    samples = round(PEOPLE * costs.samples_per_subject)
    return replace(
        costs,
        per="GPU",
        trained=samples,
        retrain_seconds=costs.retrain_seconds * samples / costs.trained,
    )


def _shown(each: plan.Figures) -> dict[str, Any]:
    return {
        "window_s": round(each.batching.seconds),
        "jobs": round(each.jobs),
        "requests/job": round(each.requests_per_job, 1),
        "retrainings": round(each.retrainings),
        "GPU_h": round(each.hours, 1),
        "GPUs": each.workers_needed or "late",
        "p50_s": round(each.p50),
        "p99_s": round(each.p99),
        "worst_s": round(each.worst),
        "late": round(each.late, 3),
        "GB/year": round(each.storage_gb),
        "busy": round(each.money_busy, 1),
        "kept": None if each.money_reserved is None else round(each.money_reserved),
    }


if __name__ == "__main__":
    raise SystemExit(main())
