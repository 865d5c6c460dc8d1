"""A job that erases very much, or a whole class, is named as such."""

from __future__ import annotations

from core.limits import too_much

CLASSES = ["zero", "one"]


def test_a_tenth_is_enough_and_more_is_too_much() -> None:
    assert too_much(100, 1000, {0: 100}, {0: 500, 1: 500}, CLASSES) is None
    reason = too_much(101, 1000, {0: 101}, {0: 500, 1: 500}, CLASSES)
    assert reason is not None
    assert "101 of 1,000 samples" in reason
    assert "approve the job" in reason


def test_a_class_must_not_vanish_unseen() -> None:
    assert too_much(9, 1000, {1: 9}, {0: 500, 1: 10}, CLASSES) is None
    reason = too_much(10, 1000, {1: 10}, {0: 500, 1: 10}, CLASSES)
    assert reason is not None
    assert "class one" in reason
    assert too_much(5, 1000, {}, {0: 500}, CLASSES) is None, "held-out samples alone"
