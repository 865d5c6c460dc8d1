"""The paper's evaluation runs for anyone: on the bundled digits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import paper

ROOT = Path(__file__).parents[2]
FIGURES = {
    "test_accuracy", "backdoor_accuracy", "trigger_undone", "remaining_accuracy",
    "erased_accuracy", "membership_auc", "output_kl_to_retrain", "representation_kl_to_retrain",
    "relearn", "steps", "seconds",
}  # fmt: skip


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.paper", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_table2_on_digits_prints_one_object_with_a_row_for_each_method() -> None:
    done = bench("table2", "--dataset", "digits", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    rows = {row["method"]: row for row in found["rows"]}
    assert {"origin", "rfu_ss", "rfu_ss_paper", "retrain"} <= set(rows)
    for row in rows.values():
        for name in FIGURES:
            assert math.isfinite(row[name]["mean"])
            assert row[name]["spread"] == 0.0
    assert rows["rfu_ss"]["teacher_seconds"]["mean"] > 0
    assert rows["origin"]["backdoor_accuracy"]["mean"] > 0.8
    assert rows["rfu_ss"]["backdoor_accuracy"]["mean"] < 0.05
    assert rows["rfu_ss"]["trigger_undone"]["mean"] > 0.8


def test_a_missing_data_set_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        paper.main(["table2", "--dataset", "mnist", "--data", str(tmp_path)])
    assert caught.value.code == 2
    assert "no train-images-idx3-ubyte(.gz)" in capsys.readouterr().err
