"""A job that erases very much, or a whole class, is named as such."""

from __future__ import annotations

from core.limits import too_much

CLASSES = ["zero", "one"]
SHARES = {"share": 0.10, "class_share": 0.50}


def test_a_tenth_is_enough_and_more_is_too_much() -> None:
    assert too_much(100, 1000, {0: 100}, {0: 500, 1: 500}, CLASSES, **SHARES) is None
    reason = too_much(101, 1000, {0: 101}, {0: 500, 1: 500}, CLASSES, **SHARES)
    assert reason is not None
    assert "101 of 1,000 samples" in reason
    assert "approve the job" in reason


def test_half_a_class_is_enough_and_more_is_too_much() -> None:
    assert too_much(5, 1000, {1: 5}, {0: 500, 1: 10}, CLASSES, **SHARES) is None
    reason = too_much(6, 1000, {0: 1, 1: 6}, {0: 500, 1: 10}, CLASSES, **SHARES)
    assert reason is not None
    assert "more than 50% of the training samples of class one (6 of 10): approve" in reason
    assert too_much(5, 1000, {}, {0: 500}, CLASSES, **SHARES) is None, "held-out samples alone"


def test_the_shares_are_settings_and_a_class_never_vanishes_unseen() -> None:
    assert too_much(101, 1000, {0: 99}, {0: 100}, CLASSES, share=1.0, class_share=1.0) is None
    reason = too_much(101, 1000, {0: 100}, {0: 100}, CLASSES, share=1.0, class_share=1.0)
    assert reason is not None
    assert "zero (100 of 100)" in reason
    reason = too_much(11, 1000, {}, {}, CLASSES, share=0.01, class_share=1.0)
    assert reason is not None
    assert "more than 1%" in reason
