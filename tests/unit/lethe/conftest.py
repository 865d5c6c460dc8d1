"""Commands on an embedded home of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Commands


@pytest.fixture
def lethe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Commands:
    """Run `lethe` here."""
    return Commands(monkeypatch, capsys, tmp_path, {"LETHE_HOME": str(tmp_path / "home")})
