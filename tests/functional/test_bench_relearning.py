"""The benchmark of G8: what remembers wrong labels fails, what never saw them does not."""

from __future__ import annotations

from pathlib import Path

import torch

from bench._gates.scenes import World
from bench.relearning import row, scenes, summary


def test_wrong_labels_that_are_remembered_fail(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    world = World("digits", Path("data"), 0, tmp_path)
    found = {(r["request"], r["model"]): r for r in summary(list(scenes(world, ("retrained",))))}
    assert all(each["FAIL"] == 0 for each in found.values())
    assert found["triggered", "retrained"]["PASS"] == 1
    assert found["100 ordinary", "retrained"]["ratio"] is None, "there is nothing to learn again"
    ordinary = world.ordinary(requests=1)
    wrong = ordinary.trained[ordinary.requests[-1].indices]
    before = row("wrong", "before", world.before(ordinary), wrong, world, world.teacher, None)
    assert before["verdict"] == "FAIL"
    assert before["ratio"] > 1.2
