"""`lethe capacity`: what is asked for, what is shown, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli import Commands

COSTS = {"fixed_seconds": 2, "retrain_seconds": 20, "trained": 5000, "samples_per_subject": 10}


@pytest.fixture
def costs(tmp_path: Path) -> str:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(COSTS | {"assumed": ["fixed_seconds: a guess"]}))
    return str(path)


def test_policies_beside_one_another_as_json(lethe: Commands, costs: str) -> None:
    asked = ("capacity", "--costs", costs, "--requests-per-day", "2000", "--models", "10")
    found = lethe.json(*asked, "--gpu-price", "3", "--workers", "2", LETHE_BATCH_SECONDS="90")
    windows = [each["batch_seconds"] for each in found["policies"]]
    assert windows == [0, 60, 90, 600, 3600, 21_600, 86_400]
    assert found["in_force"] == found["policies"][2]
    assert found["cheapest"] in found["policies"]
    assert found["cheapest"]["money_reserved"] == 72
    assert found["warning"] is None
    assert found["costs"]["fixed_seconds"] == 2
    again = lethe.json(*asked, "--gpu-price", "3", "--workers", "2", LETHE_BATCH_SECONDS="90")
    assert again == found, "the same seed, the same answer"


def test_a_table_and_a_warning(lethe: Commands, costs: str) -> None:
    done = lethe(
        *("capacity", "--costs", costs, "--requests-per-day", "1000", "--subjects", "800"),
        *("--deadline-hours", "0.5", "--gpu-price", "2", "--window", "0", "--window", "60"),
        LETHE_BATCH_SECONDS="7200",
    )
    assert done.status == 0
    assert "1,000 requests a day, 1 cores at the most, erased within 0.5 hours" in done.out
    assert "2 h (in force)" in done.out
    assert "1 min *" in done.out
    assert "* the cheapest that meets it: LETHE_BATCH_SECONDS=60" in done.out
    assert "Assumed, not measured (models): fixed_seconds: a guess" in done.err
    assert "Warning: LETHE_BATCH_SECONDS=7200 gathers for longer than the deadline" in done.err


def test_none_may_meet_the_deadline(lethe: Commands, costs: str) -> None:
    said = lethe.ok(
        *("capacity", "--costs", costs, "--requests-per-day", "500", "--window", "0"),
        *("--deadline-hours", "0.0001"),
    )
    assert "No policy meets the deadline with so many workers." in said


def test_groups_of_models_from_a_file_and_a_figure(lethe: Commands, tmp_path: Path) -> None:
    group = {"name": "small", "models": 3, "requests_per_day": 90, "subjects": 500, "costs": COSTS}
    file = tmp_path / "scenario.json"
    file.write_text(json.dumps({"groups": [group, group | {"name": "large"}], "workers": 2}))
    plot = tmp_path / "plot.png"
    found = lethe.json("capacity", "--scenario", str(file), "--plot", str(plot))
    assert (found["requests_per_day"], found["groups"]) == (180, ["small", "large"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    wrong = lethe.fails("capacity", "--scenario", str(file), "--plot", str(tmp_path / "plot.x"))
    assert "plot.x" in wrong


def test_without_matplotlib_a_figure_is_refused_in_a_line(
    lethe: Commands, costs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    asked = ("capacity", "--costs", costs, "--requests-per-day", "9", "--window", "0")
    assert "pip install matplotlib" in lethe.fails(*asked, "--plot", "plot.png")
    lethe.ok(*asked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say how many: --requests-per-day N"),
        (("--requests-per-day", "9"), "say what a job costs: --model NAME"),
        (("--requests-per-day", "0", "--costs", "costs.json"), "requests a day must be 1 to"),
        (("--requests-per-day", "9", "--costs", "nowhere.json"), "nowhere.json: No such file"),
        (("--scenario", "list.json"), "list.json is not a JSON object"),
        (("--scenario", "no.json"), "no.json is not JSON"),
        (("--requests-per-day", "9", "--model", "digits"), "there is no model 'digits'"),
    ],
)
def test_what_is_refused(
    lethe: Commands, costs: str, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (lethe.folder / "list.json").write_text("[]")
    (lethe.folder / "no.json").write_text("{")
    if not (lethe.folder / "costs.json").exists():
        (lethe.folder / "costs.json").write_text(Path(costs).read_text())
    assert said in lethe.fails("capacity", *arguments)
