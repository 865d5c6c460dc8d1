"""`python -m bench.sequences`: jobs in a row, their tenths, and what the budget says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import sequences


@pytest.mark.long
def test_jobs_in_a_row_beside_retraining(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench._sequences.run.TENTHS", 1)
    rows = tmp_path / "rows.jsonl"
    short = ("--jobs", "2", "--samples", "40", "--seeds", "1", "--epochs", "3", "--obey")
    assert sequences.main([*short, "--rows", str(rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["job"], row["model"]) for row in found["rows"]] == [
        (0, "before"),
        (2, "sequence"),
        (2, "retrained"),
    ]
    sequence, retrained = found["rows"][1:]
    assert sequence["erased"] == 80
    assert retrained["kl_erased"]["mean"] == pytest.approx(0, abs=1e-9)
    assert sequence["kl_erased"]["mean"] > 0
    (jobs,) = found["jobs"]
    assert jobs["jobs"] == 2
    assert sequences.main(["--from-rows", str(rows), "--figures", str(tmp_path)]) == 0
    assert "| 2 | sequence | 80 |" in capsys.readouterr().out
    assert (tmp_path / "sequences-digits.png").read_bytes().startswith(b"\x89PNG")


def test_more_than_there_is_cannot_be_erased() -> None:
    with pytest.raises(SystemExit):
        sequences.main(["--jobs", "50", "--samples", "100"])
