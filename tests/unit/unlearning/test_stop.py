"""The stop rule of the calibrated RFU-SS: E like references that were never seen."""

# ruff: noqa: N806 - symbols carry their shapes

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.unit.unlearning.conftest import Scene, tiny_samples
from tests.unit.unlearning.test_rfu_ss import fixed_targets, natural
from unlearning import Problem, accuracy, initialise, margins
from unlearning.methods._stop import StopRule
from unlearning.methods._targets import make_targets


def rule_for(scene: Scene, problem: Problem) -> StopRule:
    targets = make_targets(scene.model, problem, scene.teacher)
    return StopRule(scene.model, problem, targets, seed=0, first=60)


def surest(scene: Scene) -> tuple[Problem, torch.Tensor]:
    """The hundred samples that the model is surest of, and their margins."""
    problem = natural(scene, 200)
    margin_E = margins(scene.model.logits(problem.erased.images), problem.erased.labels)
    chosen = margin_E.argsort(descending=True)[:100]
    return replace(problem, erased=problem.erased[chosen]), margin_E[chosen]


def test_the_stop_rule_waits_and_wants_two_in_a_row(scene: Scene) -> None:
    problem = replace(scene.problem, erased=scene.references[:100])  # never seen in training
    class_E = problem.erased.labels
    given = accuracy(scene.model, problem.erased)
    targets = replace(fixed_targets(class_E), accuracy=given)
    rule = StopRule(scene.model, problem, targets, 0, first=60)
    assert [rule(scene.model, step) for step in (10, 50, 60)] == [False, False, False]
    assert rule(scene.model, 70)


def test_the_stop_rule_refuses_the_model_before_and_a_ruined_one(scene: Scene) -> None:
    before = rule_for(scene, scene.problem)
    assert not any(before(scene.model, step) for step in (60, 70, 80))
    ruined = initialise(scene.model.architecture, 0)
    assert not any(before(ruined, step) for step in (60, 70, 80))


def test_the_stop_rule_sees_a_shift_that_accuracy_does_not(scene: Scene) -> None:
    """Erased samples that are all right, but surer than any unseen one."""
    problem, _ = surest(scene)
    targets = replace(fixed_targets(problem.erased.labels), accuracy=1.0)
    rule = StopRule(scene.model, problem, targets, seed=0, first=60)
    assert not any(rule(scene.model, step) for step in (60, 70, 80))


@pytest.mark.parametrize(("flagged", "passes"), [(False, False), (True, True)])
def test_targets_that_are_far_themselves_may_be_met_where_a_label_is_contradicted(
    scene: Scene, flagged: bool, passes: bool
) -> None:
    """As sure as their targets, which are surer than any unseen sample."""
    problem, margin_E = surest(scene)
    given = fixed_targets(problem.erased.labels, flagged=flagged, pattern=flagged)
    targets = replace(given, accuracy=1.0, margin_E=margin_E + 1e-3)
    rule = StopRule(scene.model, problem, targets, seed=0, first=60)
    assert [rule(scene.model, step) for step in (60, 70)] == [False, passes]


@pytest.mark.parametrize(("apart", "passes"), [(3, True), (30, False)])
def test_a_distance_may_be_as_far_from_the_targets_as_chance_has_it(
    scene: Scene, apart: int, passes: bool
) -> None:
    """So many of a hundred are surer than their targets, which are surer than references."""
    problem, margin_E = surest(scene)
    margin_E[:apart] = -4.0
    given = fixed_targets(problem.erased.labels, flagged=True, pattern=True)
    targets = replace(given, accuracy=1.0, margin_E=margin_E)
    rule = StopRule(scene.model, problem, targets, seed=0, first=60)
    assert [rule(scene.model, step) for step in (60, 70)] == [False, passes]


def test_without_a_reference_of_the_class_accuracy_decides(tiny: Scene) -> None:
    more = tiny_samples(120, seed=1)
    problem = replace(
        tiny.problem,
        erased=more[more.labels == 1],
        references=tiny.references[tiny.references.labels != 1],
    )
    class_E = problem.erased.labels
    given = accuracy(tiny.model, problem.erased)
    t_EC = torch.eye(3)[class_E]
    targets = replace(fixed_targets(class_E), t_EC=t_EC, accuracy=given)
    rule = StopRule(tiny.model, problem, targets, seed=0, first=60)
    assert [rule(tiny.model, step) for step in (60, 70)] == [False, True]
