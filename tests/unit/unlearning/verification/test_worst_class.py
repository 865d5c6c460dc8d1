"""G5's worst class: one that pays alone fails; classes that trade places do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.unit.unlearning.verification.making import scores
from unlearning.verification.gate import Gate
from unlearning.verification.scores import Scores
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.utility_gates import utility_gates

TRADED = (-13, 1, -16, -18, 17, -7, 23, -10, 50, -33)
"""Thousandths that ten classes lost when a model of MNIST was retrained.

In all it gained 0.07 points.
"""


def _lost(thousandths: tuple[int, ...]) -> tuple[Scores, Scores]:
    """A thousand samples a class, of which so many more (or fewer) are wrong after."""
    classes = len(thousandths)
    labels = np.repeat(np.arange(classes), 1000)
    place = np.tile(np.arange(1000), classes)
    change = np.repeat(thousandths, 1000)
    before = dataclasses.replace(
        scores(len(labels), labels=labels), right=place >= np.maximum(0, -change)
    )
    return before, dataclasses.replace(before, right=place >= np.maximum(0, change))


def _gate(thousandths: tuple[int, ...]) -> Gate:
    gates = utility_gates(*_lost(thousandths), Thresholds())
    return next(gate for gate in gates if gate.name == "worst_class")


def test_classes_that_trade_places_are_no_harm() -> None:
    gate = _gate(TRADED)
    assert gate.statistic == pytest.approx(0.05)
    assert gate.verdict == "PASS"
    assert 0.005 < gate.detail["spread_between_classes"] < 0.02


def test_a_class_that_pays_alone_fails() -> None:
    gate = _gate((0, 0, 0, 0, 0, 0, 0, 0, 50, 0))
    assert gate.verdict == "FAIL"
    assert gate.detail["spread_between_classes"] == 0.0


def test_of_two_classes_neither_can_hide_the_other() -> None:
    assert _gate((0, 60)).verdict == "FAIL"
