"""`python -m bench.capacity`: the day that it plans, and a plan set beside what happened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import capacity
from bench._capacity.real import beside
from core.capacity.costs import Costs
from core.capacity.simulation import Batching


def test_a_day_over_a_hundred_models_is_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = tmp_path / "costs.json"
    given = {"fixed_seconds": 3.0, "retrain_seconds": 20, "trained": 54_000}
    costs.write_text(json.dumps(given | {"samples_per_subject": 10}))
    monkeypatch.setattr("core.capacity.plan.WINDOWS", (3600.0,))
    assert capacity.main(["--costs", str(costs), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    assert len(names) == 5
    for name in names:
        mine = [row for row in rows if row["scenario"] == name]
        assert [row["window_s"] for row in mine] == [1800, 3600]
        in_time = [row for row in mine if row["GPUs"] != "late"]
        marked = [row for row in mine if row["cheapest"]]
        assert len(marked) == 1
        assert marked[0]["GPUs"] == min(row["GPUs"] for row in in_time)


def test_a_real_run_is_set_beside_what_is_predicted_for_it() -> None:
    real = {"arrivals": np.array([0.0, 1.0]), "waits": np.array([2.0, 4.0]), "jobs": 2, "busy": 5.0}
    costs = {"predicted": Costs(2.0), "from its own costs": Costs(2.5)}
    rows = beside(real, Batching(), costs, seeds=2)
    assert [row["row"] for row in rows] == ["real", *costs]
    assert [row["busy_seconds"] for row in rows] == [5.0, 4.0, 5.0]
    assert [row["p50_seconds"] for row in rows] == [3.0, 2.5, 3.25]
