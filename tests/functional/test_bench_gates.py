"""The benchmark of the gates: what must fail fails by the gate that should catch it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from bench import gates
from bench._gates import power, timing, verdicts
from bench._gates.scenes import World
from bench._gates.tables import by_gate, by_request, plain
from bench._gates.verdicts import Plan, errors, must_fail, over_seeds

Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("gates")
    return Plan("digits", Path("data"), 1, 1, cache=folder / "models", log=folder / "log.jsonl")


@pytest.fixture(scope="module")
def table(plan: Plan) -> dict[tuple[str, str], Row]:
    rows = by_request(over_seeds(plan, must_fail))
    return {(row["request"], row["model"]): row for row in rows}


@pytest.mark.parametrize(
    ("request_", "model", "gate"),
    [
        ("100 memorised", "before", "G2 distribution"),
        ("100 memorised", "class_mean", "G2 distribution"),
        ("100 memorised", "over_forget", "G2 erased_accuracy"),
        ("50 memorised wrong labels", "before", "G4 contradicted_labels"),
        ("50 memorised wrong labels", "fine_tune", "G4 contradicted_labels"),
        ("50 memorised wrong labels", "class_mean", "G4 contradicted_labels"),
        ("triggered", "before", "G4 trigger"),
        ("triggered", "fine_tune", "G4 trigger"),
        ("triggered", "class_mean", "G4 trigger"),
    ],
)
def test_what_remembers_fails_by_its_gate(
    table: dict[tuple[str, str], Row], request_: str, model: str, gate: str
) -> None:
    row = table[request_, model]
    assert row["FAIL"] == 1
    assert gate in row["by"]


def test_the_wrong_target_fools_the_auc_alone(table: dict[tuple[str, str], Row]) -> None:
    row = table["100 memorised", "class_mean"]
    assert row["erased_accuracy"] == 1.0
    assert 0.4 < row["auc"] < 0.6
    assert "G1 membership_margin" not in row["by"]


def test_what_was_retrained_does_not_fail(plan: Plan, table: dict[tuple[str, str], Row]) -> None:
    assert [row["FAIL"] for (_, model), row in table.items() if model == "retrained"] == [0, 0, 0]
    rows = list(errors(plan, World("digits", plan.data, 0, plan.cache)))
    assert {row["model"] for row in rows} == {"retrained"}
    assert [row["request"] for row in rows if row["verdict"] == "FAIL"] == []
    first = next(row for row in rows if row["request"] == "1 ordinary")
    assert first["verdict"] == "INCONCLUSIVE", "one sample decides nothing"


def test_a_seed_in_the_log_is_not_measured_again(
    plan: Plan, table: dict[tuple[str, str], Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "World", None)
    kept = over_seeds(plan, must_fail)
    assert {(row["request"], row["model"]): row for row in by_request(kept)} == table


def test_verdicts_are_counted_with_clopper_and_pearsons_interval() -> None:
    verdict = ["FAIL"] + ["PASS"] * 15 + ["INCONCLUSIVE"] * 4
    rows = [
        {
            "request": f"{60 + i} triggered",
            "model": "retrained",
            "verdict": v,
            "gates": {"G4 trigger": [v, 0.0]},
            "erased_accuracy": 0.5,
        }
        for i, v in enumerate(verdict)
    ]
    (row,) = by_request(rows)
    assert (row["request"], row["PASS"], row["INCONCLUSIVE"], row["FAIL"]) == (
        "triggered",
        15,
        4,
        1,
    )
    assert row["low"] == pytest.approx(stats.beta.ppf(0.025, 1, 20))
    assert row["high"] == pytest.approx(stats.beta.ppf(0.975, 2, 19))
    assert row["auc"] is None
    assert row["by"] == {"G4 trigger": 1}
    (gate,) = by_gate(rows)
    assert (gate["PASS"], gate["INCONCLUSIVE"], gate["FAIL"]) == (15, 4, 1)
    assert plain([row]).splitlines()[2].endswith("| - | G4 trigger 1 |")


def test_power_is_told_for_every_gate_and_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(power, "SIZES", (10, 100))
    monkeypatch.setattr(power, "GROWTH", (1, 100))
    rows = {(row["samples"], row["gate"]): row for row in power.detectable(1000, 10)}
    assert rows[10, "distribution"]["found"] is None
    assert rows[100, "membership_margin"]["found"] < rows[10, "membership_margin"]["found"]
    assert all(r["simulated"] >= 0.4 for (n, _), r in rows.items() if n == 100)
    alone, batched = power.growth(1000, 50)
    assert alone["passes"] == alone["passes_simulated"] == 0.0
    assert alone["auc_found"] is None
    assert batched["passes"] > 0.8
    power.draw([alone, batched], tmp_path / "figures" / "growth.png")
    assert (tmp_path / "figures" / "growth.png").stat().st_size > 1000


def test_the_time_of_the_protocol_is_told() -> None:
    rows = timing.timed(Path("data"), dataset="digits", repeats=1)
    assert [row["request"].split()[1] for row in rows] == ["ordinary", "triggered"]
    assert all(row["cpu_seconds"] > 0 for row in rows)


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        gates.main(["--seeds", "0"])
    with pytest.raises(SystemExit):
        gates.main(["--dataset", "mnist", "--data", str(tmp_path)])
    assert "no train-images-idx3-ubyte" in capsys.readouterr().err
    monkeypatch.setattr(gates, "growth", lambda *_: [{"samples": 1}])
    monkeypatch.setattr(gates, "detectable", lambda *_: [{"samples": 2}])
    assert gates.main(["power", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["growth"] == [{"samples": 1}]
    assert gates.main(["power"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "| 2 |"
