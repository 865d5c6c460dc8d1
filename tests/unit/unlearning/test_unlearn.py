"""`unlearn`: what holds for every strategy, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.unlearning.conftest import Scene, config_of, tiny_architecture, tiny_samples
from unlearning import (
    STRATEGIES,
    Cancelled,
    PaperConfig,
    Problem,
    RFUSSConfig,
    Samples,
    StepReport,
    export_arrays,
    initialise,
    rungs,
    unlearn,
)

strategies = pytest.mark.parametrize("strategy", STRATEGIES)


@strategies
def test_the_model_given_is_left_as_it_is(tiny: Scene, strategy: str) -> None:
    before = export_arrays(tiny.model)
    outcome = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config_of(strategy, 20))
    after = export_arrays(tiny.model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    changed = export_arrays(outcome.model)
    assert not all(np.array_equal(before[name], changed[name]) for name in before)
    assert not outcome.model.training
    assert outcome.strategy == strategy


@strategies
def test_same_seed_same_bits(tiny: Scene, strategy: str) -> None:
    runs = []
    for noise, seed in ((1, 4), (2, 4), (1, 5)):
        torch.manual_seed(noise)  # the global generator has no say
        config = config_of(strategy, 20)
        runs.append(unlearn(tiny.model, tiny.problem, strategy=strategy, config=config, seed=seed))
    one, two, other = (export_arrays(run.model) for run in runs)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)
    assert runs[0].history == runs[1].history


@strategies
def test_steps_are_reported(tiny: Scene, strategy: str) -> None:
    seen: list[StepReport] = []
    every = {"hbu": 1, "rfu": 5, "vbu": 5}.get(strategy, 10)
    outcome = unlearn(
        tiny.model,
        tiny.problem,
        strategy=strategy,
        config=config_of(strategy, 25),
        on_step=seen.append,
    )
    assert seen == outcome.history
    if strategy != "retrain":
        assert [r.step for r in seen] == [*range(every, 25, every), 25][: len(seen)]
    assert outcome.steps == seen[-1].step
    assert outcome.seconds > 0
    for report in seen:
        assert report.phase == ("retraining" if strategy == "retrain" else "unlearning")
        assert report.total_steps == (24 if strategy == "retrain" else 25)
        assert 0.0 <= report.alpha <= 1.0
        assert -1.0001 <= report.cosine <= 1.0001


@strategies
def test_a_cancel_is_seen_at_the_next_step(tiny: Scene, strategy: str) -> None:
    calls = iter([False, False, True])
    with pytest.raises(Cancelled, match="step 2"):
        unlearn(tiny.model, tiny.problem, strategy=strategy, should_stop=lambda: next(calls))


@strategies
def test_a_configuration_may_be_a_plain_dict(tiny: Scene, strategy: str) -> None:
    config = STRATEGIES[strategy].config(**config_of(strategy, 10))
    one = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config)
    two = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config.to_dict())
    assert one.history == two.history


@pytest.mark.parametrize("strategy", ["rfu_ss", "rfu_ss_paper", "hbu", "vbu"])
@pytest.mark.parametrize("weighting", ["eq14", "equal_norm", "fixed"])
def test_every_weighting_works(tiny: Scene, strategy: str, weighting: str) -> None:
    config: dict[str, object] = {"steps": 10, "weighting": weighting}
    if weighting == "fixed":
        config["fixed_alpha"] = 0.5
    outcome = unlearn(tiny.model, tiny.problem, strategy=strategy, config=config)
    if weighting == "fixed":
        assert outcome.history[0].alpha == 0.5


@strategies
def test_a_resnet_unlearns(strategy: str, tiny: Scene) -> None:
    model = initialise(tiny_architecture(kind="resnet18"), 0)
    few = replace(tiny.problem, erased=tiny.erased[:6], remaining=tiny.remaining[:12])
    # Two curvature products and one minibatch show as much as the defaults' ten and five.
    less: dict[str, dict[str, object]] = {"hbu": {"iterations": 2}, "vbu": {"fisher_batches": 1}}
    config = {**config_of(strategy, 2), **less.get(strategy, {})}
    outcome = unlearn(model, few, strategy=strategy, config=config)
    moved = np.abs(export_arrays(outcome.model)["representer.bn1.running_mean"]).max() > 0
    alone = strategy in {"rfu", "hbu", "vbu"}
    assert moved != alone, "running statistics are shipped, but never set by erased samples alone"


@strategies
@pytest.mark.parametrize("count", [1, 3])
def test_few_erased_and_fewer_remaining_than_a_batch(
    tiny: Scene, strategy: str, count: int
) -> None:
    problem = replace(tiny.problem, erased=tiny.erased[:count], remaining=tiny.remaining[:7])
    outcome = unlearn(tiny.model, problem, strategy=strategy, config=config_of(strategy, 10))
    assert outcome.flagged.shape == (count,)
    assert outcome.flagged_count == 0


def bad_problems() -> dict[str, tuple[Problem, str]]:
    erased, remaining, references = tiny_samples(6), tiny_samples(30), tiny_samples(12)
    good = Problem(erased, remaining, references)
    alien = Samples(erased.images, erased.labels + 7)
    big = Samples(torch.zeros(3, 1, 5, 5, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    return {
        "nothing erased": (replace(good, erased=tiny_samples(0)), "no erased samples"),
        "everything erased": (replace(good, remaining=tiny_samples(0)), "no remaining samples"),
        "a class vanishes": (
            replace(good, remaining=remaining[remaining.labels != 1]),
            "class 1 would vanish",
        ),
        "erased label": (replace(good, erased=alien), "erased: label"),
        "remaining label": (replace(good, remaining=alien), "remaining: label"),
        "reference label": (replace(good, references=alien), "references: label"),
        "shape": (replace(good, remaining=big), "the model wants"),
    }


@strategies
@pytest.mark.parametrize("case", bad_problems())
def test_a_problem_without_an_answer_is_refused(tiny: Scene, strategy: str, case: str) -> None:
    problem, message = bad_problems()[case]
    with pytest.raises(ValueError, match=message):
        unlearn(tiny.model, replace(problem, teacher=tiny.teacher), strategy=strategy)


@strategies
def test_a_broken_model_is_refused(tiny: Scene, strategy: str) -> None:
    model = initialise(tiny_architecture(), 0)
    model.approximator[0].bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite weights"):
        unlearn(model, tiny.problem, strategy=strategy)


def test_unknown_strategies_rungs_and_configurations_are_refused(tiny: Scene) -> None:
    assert rungs("rfu_ss") == 3
    assert {rungs(strategy) for strategy in STRATEGIES if strategy != "rfu_ss"} == {1}
    with pytest.raises(ValueError, match="choose from rfu_ss, rfu_ss_paper"):
        rungs("amnesia")
    for rung in (-1, 3, True, "1"):
        with pytest.raises(ValueError, match="rung must be 0 to 2"):
            unlearn(tiny.model, tiny.problem, rung=rung)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rfu_ss takes a RFUSSConfig, got PaperConfig"):
        unlearn(tiny.model, tiny.problem, config=PaperConfig())
    with pytest.raises(ValueError, match="rfu_ss_paper takes a PaperConfig"):
        unlearn(tiny.model, tiny.problem, strategy="rfu_ss_paper", config=RFUSSConfig())


def test_only_the_calibrated_method_needs_a_teacher_and_references(tiny: Scene) -> None:
    bare = Problem(tiny.erased, tiny.remaining, tiny_samples(0))
    for strategy in STRATEGIES:
        if strategy != "rfu_ss":
            unlearn(tiny.model, bare, strategy=strategy, config=config_of(strategy, 1))
    with pytest.raises(ValueError, match="needs a teacher"):
        unlearn(tiny.model, bare)
    with pytest.raises(ValueError, match="needs references"):
        unlearn(tiny.model, replace(bare, teacher=tiny.teacher))


def test_a_teacher_of_another_model_is_refused(tiny: Scene, scene: Scene) -> None:
    with pytest.raises(ValueError, match="teacher's input shape or classes"):
        unlearn(tiny.model, replace(tiny.problem, teacher=scene.teacher))
