"""On a CUDA device: captured steps against plain ones, and every strategy end to end."""

from __future__ import annotations

import pytest
import torch

from tests.unit.unlearning.conftest import config_of, tiny_architecture, tiny_samples
from unlearning import (
    STRATEGIES,
    Problem,
    Samples,
    Snapshot,
    TeacherConfig,
    TrainingConfig,
    _cuda,
    initialise,
    train,
    train_teacher,
    unlearn,
)

CONFIG = TrainingConfig(epochs=3, batch=16, lr=3e-3, beta=1e-3)


def problem() -> Problem:
    references = tiny_samples(60, seed=2)
    teacher = train_teacher(
        tiny_architecture(), references, TeacherConfig(2, CONFIG), device="cuda"
    )
    return Problem(tiny_samples(9, seed=1), tiny_samples(90), references, teacher)


def test_a_captured_step_is_the_step() -> None:
    """Replays read the indices given last, draw anew each time, and change the same tensors."""
    totals = []
    for capture in (False, True):
        noise = torch.Generator("cuda").manual_seed(0)
        state = torch.zeros(4, device="cuda")

        def step(e: torch.Tensor, r: torch.Tensor, s=state, g=noise) -> torch.Tensor:  # type: ignore[no-untyped-def]
            s.add_(torch.randn(4, generator=g, device="cuda") + e.float().sum() - r.float().sum())
            return s * 2.0

        advance = _cuda.captured(step, noise) if capture else step
        for i in range(8):
            e = torch.tensor([i, i + 1], device="cuda")
            values = advance(e, e[:1]).clone()
        totals.append((state, values))
    for plain, replayed in zip(*totals, strict=True):
        torch.testing.assert_close(plain, replayed)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_runs_and_resumes(strategy: str) -> None:
    model, given = train(tiny_architecture(), tiny_samples(99), CONFIG), problem()
    snapshots: list[Snapshot] = []
    config = config_of(strategy, 12)
    whole = unlearn(
        model,
        given,
        strategy=strategy,
        config=config,
        device="cuda",
        on_snapshot=snapshots.append,
        snapshot_every=0.0,
    )
    assert whole.model.device.type == "cuda"
    again = unlearn(
        model, given, strategy=strategy, config=config, device="cuda", resume=snapshots[5]
    )
    for one, two in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("strategy", ["rfu_ss", "rfu_ss_paper", "hbu", "vbu"])
def test_a_resnet_unlearns_in_bfloat16(strategy: str) -> None:
    architecture = tiny_architecture(kind="resnet18", input_shape=(1, 32, 32))

    def large(samples: Samples) -> Samples:
        return Samples(samples.images.repeat(1, 1, 8, 8), samples.labels)

    teacher = train_teacher(
        architecture, large(tiny_samples(60, seed=2)), TeacherConfig(2, CONFIG), device="cuda"
    )
    outcome = unlearn(
        initialise(architecture, 0),
        Problem(
            large(tiny_samples(9, seed=1)),
            large(tiny_samples(90)),
            large(tiny_samples(60, seed=2)),
            teacher,
        ),
        strategy=strategy,
        config=config_of(strategy, 6),
        device="cuda",
    )
    assert all(bool(torch.isfinite(p).all()) for p in outcome.model.parameters())
    assert {p.dtype for p in outcome.model.parameters()} == {torch.float32}
