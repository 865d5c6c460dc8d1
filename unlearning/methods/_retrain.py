"""Exact retraining: a fresh model, trained on what remains. What all others are measured by.

Its configuration is a training's; `lean` is a schedule that reaches about the same accuracy in
a fraction of the time, and the fair one to compare the speed of unlearning with.
"""

from __future__ import annotations

import time
from dataclasses import astuple, replace

import torch

from unlearning._snapshot import Snapshot
from unlearning.methods._protocol import Outcome, Problem, Run, StepReport
from unlearning.presets import preset_for
from unlearning.training import TrainingConfig, TrainProgress, train
from unlearning.vib import VIB

RUNGS = 1
_LEAST = 200  # steps: fewer do not reach a full training's accuracy, however small the data


def default_config(model: VIB) -> TrainingConfig:
    """The training of the preset that the model's shape has."""
    return preset_for(model.architecture.input_shape).training


def lean(config: TrainingConfig) -> TrainingConfig:
    """`config` in a fifth of its epochs, but 200 steps at least, with batches of 256 and three
    times its rate.
    """
    return TrainingConfig(
        epochs=max(1, config.epochs // 5),
        batch=256,
        lr=3.0 * config.lr,
        beta=config.beta,
        augment=config.augment,
        min_steps=max(config.min_steps, _LEAST),
    )


def retrain(model: VIB, problem: Problem, config: TrainingConfig, run: Run) -> Outcome:
    """Train anew; of `model` only the architecture is used."""
    began = time.perf_counter()
    resumed, on_snapshot = run.snapshots.resume, run.snapshots.on_snapshot
    history: list[StepReport] = []
    if resumed is not None and "history" in resumed.state:
        history = [StepReport(*values) for values in resumed.state["history"]]
        began -= resumed.state["seconds"]

    def on_progress(p: TrainProgress) -> None:
        report = StepReport("retraining", p.step, p.total_steps, 0.0, p.loss, 0.0, 0.0, 0.0, 0.0)
        history.append(report)
        if run.on_step is not None:
            run.on_step(report)

    def add_own(snapshot: Snapshot) -> None:
        own = {
            "history": [list(astuple(report)) for report in history],
            "seconds": time.perf_counter() - began,
        }
        assert on_snapshot is not None
        on_snapshot(Snapshot(snapshot.arrays, {**snapshot.state, **own}))

    retrained = train(
        model.architecture,
        problem.remaining,
        replace(config, batch=max(2, run.halved(config.batch))),  # a batch norm cannot take one
        seed=run.seed,
        device=run.device,
        precision=run.precision,
        on_progress=on_progress,
        should_stop=run.should_stop,
        resume=resumed,
        on_snapshot=None if on_snapshot is None else add_own,
        snapshot_every=run.snapshots.every,
    )
    return Outcome(
        model=retrained,
        strategy="retrain",
        steps=history[-1].step,
        seconds=time.perf_counter() - began,
        converged=True,
        rung=run.rung,
        flagged=torch.zeros(len(problem.erased), dtype=torch.bool),
        history=history,
        warnings=[],
    )
