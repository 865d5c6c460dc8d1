"""Interrupted after any step and resumed elsewhere: the same bits as uninterrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import Scene, config_of, tiny_architecture, tiny_samples
from unlearning import (
    STRATEGIES,
    VIB,
    Cancelled,
    Snapshot,
    TrainingConfig,
    export_arrays,
    initialise,
    train,
    unlearn,
)

CONFIG = TrainingConfig(epochs=3, batch=16, lr=3e-3, beta=1e-3, augment="crop_flip")


def stored(snapshot: Snapshot) -> Snapshot:
    """A snapshot as another process reads it from a store."""
    state = json.loads(json.dumps(snapshot.state, allow_nan=False))
    return Snapshot({name: np.array(a) for name, a in snapshot.arrays.items()}, state)


def same(one: VIB, two: VIB) -> bool:
    a, b = export_arrays(one), export_arrays(two)
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("strategy", "extra"),
    [
        *((strategy, {}) for strategy in STRATEGIES),
        ("rfu_ss_paper", {"estimator": "mine"}),
        ("vbu", {"weighting": "equal_norm"}),
        ("hbu", {"weighting": "eq14"}),
    ],
)
def test_resumed_at_any_step_is_uninterrupted(
    tiny: Scene, strategy: str, extra: dict[str, Any]
) -> None:
    config = config_of(strategy, 25, **extra)
    snapshots: list[Snapshot] = []
    whole = unlearn(
        tiny.model,
        tiny.problem,
        strategy=strategy,
        config=config,
        seed=3,
        on_snapshot=snapshots.append,
        snapshot_every=0.0,
    )
    plain = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config, seed=3)
    assert same(plain.model, whole.model), "being watched changes nothing"
    assert len(snapshots) > 1
    for snapshot in snapshots[:: max(1, len(snapshots) // 5)]:
        torch.manual_seed(99)
        again = unlearn(
            tiny.model,
            tiny.problem,
            strategy=strategy,
            config=config,
            seed=3,
            resume=stored(snapshot),
        )
        assert same(again.model, whole.model)
        assert again.history == whole.history
        assert (again.steps, again.converged) == (whole.steps, whole.converged)
        assert again.warnings == whole.warnings


@pytest.mark.parametrize(("every", "steps"), [(0.0, [1, 2, 3, 4, 5]), (3600.0, [5])])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cancelled_run_goes_on_where_it_was(
    tiny: Scene, strategy: str, every: float, steps: list[int]
) -> None:
    """Where it was stopped is given once, though no snapshot was due."""
    config = config_of(strategy, 9)
    snapshots: list[Snapshot] = []
    calls = iter([False] * 5 + [True])
    with pytest.raises(Cancelled, match="step 5"):
        unlearn(
            tiny.model,
            tiny.problem,
            strategy=strategy,
            config=config,
            should_stop=lambda: next(calls),
            on_snapshot=snapshots.append,
            snapshot_every=every,
        )
    assert [snapshot.state["step"] for snapshot in snapshots] == steps
    again = unlearn(
        tiny.model, tiny.problem, strategy=strategy, config=config, resume=snapshots[-1]
    )
    whole = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config)
    assert same(again.model, whole.model)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"rung": 1}, {"config": {"steps": 8}}, {"problem": True}]
)
def test_a_snapshot_of_another_run_is_refused(tiny: Scene, change: dict[str, Any]) -> None:
    snapshots: list[Snapshot] = []
    asked: dict[str, Any] = {"problem": tiny.problem, "config": {"steps": 9}, "seed": 0, "rung": 0}
    unlearn(tiny.model, on_snapshot=snapshots.append, snapshot_every=0.0, **asked)
    if "problem" in change:
        change = {"problem": replace(tiny.problem, erased=tiny.erased[:8])}
    with pytest.raises(ValueError, match="snapshot is of another run"):
        unlearn(tiny.model, resume=snapshots[0], **{**asked, **change})
    with pytest.raises(ValueError, match="snapshot is of another run"):
        unlearn(initialise(tiny_architecture(), 8), resume=snapshots[0], **asked)


def test_a_torn_snapshot_is_refused(tiny: Scene) -> None:
    snapshots: list[Snapshot] = []
    train(
        tiny_architecture(),
        tiny_samples(40),
        CONFIG,
        on_snapshot=snapshots.append,
        snapshot_every=0,
    )
    arrays = {k: a for k, a in snapshots[0].arrays.items() if k != "update.m"}
    with pytest.raises(ValueError, match=r"lacks arrays.*update\.m"):
        train(
            tiny_architecture(),
            tiny_samples(40),
            CONFIG,
            resume=Snapshot(arrays, snapshots[0].state),
        )


@pytest.mark.parametrize("kind", ["mlp", "resnet18"])
def test_a_training_resumes_at_any_step(kind: str) -> None:
    architecture = tiny_architecture(kind=kind)
    samples, snapshots = tiny_samples(40 if kind == "mlp" else 12), []  # type: ignore[var-annotated]
    whole = train(
        architecture, samples, CONFIG, seed=5, on_snapshot=snapshots.append, snapshot_every=0.0
    )
    assert len(snapshots) == (9 if kind == "mlp" else 3)
    for snapshot in snapshots if kind == "mlp" else snapshots[1:2]:
        again = train(architecture, samples, CONFIG, seed=5, resume=stored(snapshot))
        assert same(again, whole)
    with pytest.raises(ValueError, match="snapshot is of another run"):
        train(architecture, samples, CONFIG, seed=6, resume=snapshots[0])


def test_snapshots_come_at_most_so_often(tiny: Scene) -> None:
    snapshots: list[Snapshot] = []
    unlearn(tiny.model, tiny.problem, config={"steps": 9}, on_snapshot=snapshots.append)
    assert snapshots == [], "9 steps take less than ten seconds"
