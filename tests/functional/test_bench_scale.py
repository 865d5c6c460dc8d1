"""`python -m bench.scale` on sizes that take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import scale


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_is_measured_at_each_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "scale.png"
    given = ["--samples", "2e3", "--keep", str(tmp_path), "--figure", str(figure), "--json"]
    assert scale.main(given) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["samples"], row["erased"]) for row in rows] == [
        (2000, "spread"),
        (2000, "together"),
    ]
    for row in rows:
        assert row["deleted"] >= 80
        assert row["fragments"] == 1
        assert row["each_job_seconds"] == [row["job_seconds"]]
        assert min(row["job_seconds"], row["compaction_seconds"], row["peak_mb"]) > 0
    assert figure.read_bytes().startswith(b"\x89PNG")
