"""Verdicts over seeds: on retrained models, which must not fail, and on ones that must."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._gates.liars import class_mean, over_forget
from bench._gates.scenes import Request, Scene, World, read_log
from unlearning import VIB, Problem, unlearn
from unlearning.verification.protocol import verify

Row = dict[str, Any]

CANDIDATES = ("before", "fine_tune", "class_mean", "over_forget", "rfu_ss", "retrained")
FINE_TUNE_PASSES = 2
"""Over what remains. On a small data set more of them are a training of their own, and forget."""


@dataclass(frozen=True)
class Plan:
    """dataset, data, seeds, requests (of each size and seed), epochs, cache, log: as asked for."""

    dataset: str
    data: Path
    seeds: int
    requests: int
    epochs: int | None = None
    cache: Path | None = None
    log: Path | None = None


def over_seeds(plan: Plan, measure: Callable[[Plan, World], Iterator[Row]]) -> list[Row]:
    """The rows of every seed, taken up where the log of an earlier run ends."""
    rows: list[Row] = [row for row in read_log(plan.log) if row["seed"] < plan.seeds]
    done = {row["seed"] for row in rows}
    for seed in sorted(set(range(plan.seeds)) - done):
        world = World(plan.dataset, plan.data, seed, plan.cache, plan.epochs)
        found = [{"seed": seed} | row for row in measure(plan, world)]
        rows += found
        if plan.log is not None:
            plan.log.parent.mkdir(parents=True, exist_ok=True)
            with plan.log.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
        sys.stderr.write(f"seed {seed + 1} of {plan.seeds}\n")
    return rows


def errors(plan: Plan, world: World) -> Iterator[Row]:
    """Every request against a model that was retrained without it."""
    for scene in (world.ordinary(plan.requests), world.triggered()):
        before, retrained = world.before(scene), world.retrained(scene)
        for request in scene.requests:
            yield _row(world, scene, request, before, "retrained", retrained)


def must_fail(_plan: Plan, world: World) -> Iterator[Row]:
    """Models that remember, or that only look as if they had forgotten, beside two that have."""
    memorised, triggered = world.memorised(world.ordinary(requests=1)), world.triggered()
    for scene, request in (
        *((memorised, request) for request in memorised.requests),
        (triggered, triggered.requests[0]),
    ):
        before = world.before(scene)
        for name in CANDIDATES:
            if name == "over_forget" and request is not memorised.requests[0]:
                continue  # a label that was wrong cannot be given too seldom
            candidate = candidate_of(name, world, scene, request, before)
            yield _row(world, scene, request, before, name, candidate)


def candidate_of(name: str, world: World, scene: Scene, request: Request, before: VIB) -> VIB:
    """What a kind of unlearning, good or bad, makes of the model before."""
    if name == "before":
        return before
    if name == "retrained":
        return world.retrained(scene)
    problem = Problem(
        scene.trained[request.indices], scene.remaining, world.references, world.teacher
    )
    liars = {"class_mean": class_mean, "over_forget": over_forget}
    if name in liars:
        return liars[name](before, problem, seed=world.seed)
    config = None
    if name == "fine_tune":
        batch = 100
        steps = max(1, FINE_TUNE_PASSES * len(scene.remaining) // batch)
        config = {"steps": steps, "remaining_batch": batch, "stop_accuracy": 0.0}
    return unlearn(before, problem, strategy=name, config=config, seed=world.seed).model


def _row(
    world: World, scene: Scene, request: Request, before: VIB, name: str, candidate: VIB
) -> Row:
    report = verify(before, candidate, scene.evidence(request, world), seed=world.seed)
    return {
        "request": request.name,
        "model": name,
        "verdict": report.verdict,
        "gates": {f"{g.gate} {g.name}": [g.verdict, g.statistic] for g in report.gates},
        "erased_accuracy": float(report.after.erased.right.mean()) if report.after else None,
        "seconds": report.seconds,
    }
