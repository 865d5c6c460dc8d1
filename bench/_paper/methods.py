"""The rows of a table: each method run on a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench._paper.measures import Figures, measure
from bench._paper.scenes import Scene, seconds_now
from unlearning import STRATEGIES, VIB, rungs, unlearn

METHODS = ("origin", "hbu", "vbu", "rfu", "rfu_ss", "rfu_ss_paper", "fine_tune", "retrain")
LEAN = "retrain_lean"


@dataclass(frozen=True)
class Attempt:
    """A model that a method gave, what it cost, and what it said.

    seconds: CPU seconds (on a GPU: seconds), those of rungs that failed included.
    """

    model: VIB
    steps: int
    seconds: float
    teacher_seconds: float | None = None
    rung: int = 0
    converged: bool = True
    flagged: int = 0
    warnings: tuple[str, ...] = ()


def available() -> list[str]:
    """The methods that can be run, in the order of the paper's tables."""
    return [m for m in METHODS if m in (*STRATEGIES, "origin", "retrain")]


def attempt(
    scene: Scene, method: str, config: Mapping[str, Any] | None = None, climb: bool = True
) -> Attempt:
    """Run `method` on `scene`; "origin" and the two retrainings are what the scene has.

    The ladder of the method is climbed until its own stop rule is met, unless `climb` is False.
    """
    if method == "origin":
        return Attempt(scene.origin.model, 0, 0.0)
    if method in ("retrain", LEAN):
        made = scene.retrained if method == "retrain" else scene.retrained_lean
        return Attempt(made.model, made.steps, made.seconds)
    problem, origin = scene.problem, scene.origin.model
    needs_teacher = STRATEGIES[method].needs_teacher
    started, steps = seconds_now(), 0
    for rung in range(rungs(method) if climb else 1):
        outcome = unlearn(
            origin, problem, strategy=method, config=config, seed=scene.seed,
            device=scene.device, rung=rung,
        )  # fmt: skip
        steps += outcome.steps
        if outcome.converged:
            break
    return Attempt(
        outcome.model,
        steps,
        seconds_now() - started,
        scene.teacher[1] if needs_teacher else None,
        outcome.rung,
        outcome.converged,
        outcome.flagged_count,
        tuple(outcome.warnings),
    )


def row(
    scene: Scene, method: str, config: Mapping[str, Any] | None = None, climb: bool = True
) -> Figures:
    """The figures of `method` on `scene`."""
    found = attempt(scene, method, config, climb)
    return measure(scene, found.model) | {
        "steps": found.steps,
        "seconds": found.seconds,
        "teacher_seconds": found.teacher_seconds,
    }
