"""Canaries follow from a seed alone, so that an auditor can draw them again."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from core.canaries import Plan, commitment, draw
from core.errors import Invalid

SEED = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(("text", "plan"), [("20x32", Plan(20, 32)), ("1x8", Plan(1, 8))])
def test_a_plan_is_groups_times_size(text: str, plan: Plan) -> None:
    assert Plan.parse(text) == plan


@pytest.mark.parametrize("text", ["", "20", "x", "0x32", "201x32", "4x7", "4x257", "-1x9", "2x9x3"])
def test_any_other_plan_is_refused_in_words(text: str) -> None:
    with pytest.raises(Invalid, match="--canaries"):
        Plan.parse(text)


def test_a_group_is_drawn_as_the_page_says() -> None:
    size, shape, classes = 9, (2, 3, 4), 7
    drawn = draw(SEED, size, shape, classes)
    stream = hashlib.shake_256(bytes.fromhex(SEED)).digest(5 * size + size * 24)
    for i in range(size):
        assert drawn.trained[i] == bool(stream[i] % 2)
        word = stream[size + 4 * i : size + 4 * i + 4]
        assert drawn.labels[i] == int.from_bytes(word, "big") % classes
    pixels = [255 if byte < 48 else 0 for byte in stream[5 * size :]]
    assert drawn.images.reshape(-1).tolist() == pixels
    assert drawn.images.shape == (size, *shape)
    assert drawn.images.dtype == np.uint8


def test_coins_are_fair_and_labels_spread_over_the_classes() -> None:
    groups = [draw(f"{i:032x}", 256, (1, 2, 2), 10) for i in range(20)]
    heads = sum(int(group.trained.sum()) for group in groups)
    assert 2400 < heads < 2720  # 5120 coins: 4.5 standard deviations
    counts = np.bincount(np.concatenate([group.labels for group in groups]), minlength=10)
    assert counts.min() > 400
    assert counts.max() < 630


def test_a_commitment_binds_number_seed_and_size() -> None:
    made = commitment(3, SEED, 32)
    assert made == hashlib.sha256(json.dumps([3, SEED, 32]).replace(" ", "").encode()).hexdigest()
    flipped = SEED[:-1] + "e"
    others = {commitment(4, SEED, 32), commitment(3, flipped, 32), commitment(3, SEED, 31)}
    assert made not in others
