"""Every named point exists once in the code, costs nothing, and can be armed by no setting."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from core import points

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = [
    p for part in ("core", "worker", "service", "lethe") for p in (ROOT / part).rglob("*.py")
]


def test_each_point_is_reached_in_one_place() -> None:
    found = Counter(
        name for path in PRODUCT for name in re.findall(r'\breached\("([^"]+)"\)', path.read_text())
    )
    twice = Counter(["intake:before-commit", "intake:before-answer"])  # one by one, and in bulk
    assert found == Counter(points.POINTS.keys()) + twice
    assert len(points.POINTS) >= 15


def test_nothing_in_the_product_watches() -> None:
    """What kills lies with the tests: no variable of anybody's can arm it."""
    assert points._watcher is None
    for path in PRODUCT:
        if path.name == "points.py":
            assert "environ[" not in path.read_text()
            assert not re.search(r"^(import|from) (os|signal)", path.read_text(), re.MULTILINE)
        else:
            assert not re.search(r"points\.watch|points import .*watch", path.read_text())
    assert not {name for name in os.environ if name.startswith("LETHE_CRASH")}


def test_a_watcher_hears_of_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    points.reached("claim:after-commit")
    monkeypatch.setattr(points, "_watcher", None)  # undone after the test
    points.watch(heard.append)
    points.reached("publish:before-commit")
    assert heard == ["publish:before-commit"]
