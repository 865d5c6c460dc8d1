"""`make audit` says what it knows, and that it knows nothing where nobody answered."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests import audit

SOUND = {"name": "sound", "version": "1", "vulns": []}
WRONG = {
    "name": "wrong",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}, {"id": "PYSEC-2", "fix_versions": []}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        ([SOUND], 0, "1 packages looked up, 0 findings"),
        ([SOUND, WRONG], 1, "wrong 2: PYSEC-1, mended in 3"),
        ([SOUND, UNKNOWN], 2, "1 packages looked up; NOT AUDITED: unknown"),
        ([UNKNOWN], 2, "NOT AUDITED, the service knew none of the 1 packages"),
        ([WRONG, UNKNOWN], 1, "PYSEC-2, mended in no version yet"),
    ],
)
def test_what_is_told(
    capsys: pytest.CaptureFixture[str], found: list[dict[str, Any]], status: int, words: str
) -> None:
    assert audit.told(found) == status
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("out", "bandit", "status"),
    [
        (json.dumps({"dependencies": [SOUND]}), 0, 0),
        (json.dumps({"dependencies": [SOUND]}), 1, 1),
        (json.dumps({"dependencies": [WRONG]}), 0, 1),
        ("", 0, 2),
    ],
)
def test_the_status(monkeypatch: pytest.MonkeyPatch, out: str, bandit: int, status: int) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        code = bandit if "bandit" in command else 1
        return subprocess.CompletedProcess(command, code, out, "the name cannot be resolved")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == status
