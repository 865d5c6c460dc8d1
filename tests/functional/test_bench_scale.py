"""`python -m bench.scale` on sizes that take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import scale
from bench._scale import throughput


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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_requests_per_hour_are_measured_on_the_same_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "SAMPLES", 4000)
    assert scale.main(["--throughput", "--batches", "2", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["workers"], row["requests"]) for row in rows] == [(1, 4), (2, 4)]
    for row in rows:
        assert row["each_seconds"] == [row["seconds"]]
        assert row["requests_per_hour"] > 0


def test_a_folder_to_keep_is_of_no_use_to_throughput(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        scale.main(["--throughput", "--keep", str(tmp_path)])
