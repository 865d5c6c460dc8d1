"""Policies beside one another: which meet the deadline, what they cost, what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.capacity import plan
from core.capacity.costs import Costs, fit, read
from core.capacity.plan import Group, Prices, Scenario, compare, figures
from core.capacity.simulation import DAY, Batching
from core.errors import Invalid

COSTS = Costs(
    30.0, 0.01, (0.9, 1.1), 300.0, 10.0, 100_000, checkpoint_mb=1.0, request_kb=4.0, job_kb=8.0
)


def scenario(**values: Any) -> Scenario:
    group = Group(4, 4000.0, 10_000, COSTS)
    return Scenario([group], **({"workers": 4, "prices": Prices(2.0)} | values))


def test_gathering_costs_less_and_takes_longer() -> None:
    alone, hour, day = compare(scenario(), [Batching(0), Batching(3600), Batching(DAY)])
    assert alone.jobs > hour.jobs > day.jobs
    assert alone.hours > hour.hours > day.hours
    assert alone.p99 < hour.p99 < day.p99 <= DAY + 1000
    assert alone.requests_per_job == 1
    assert hour.requests_per_job == pytest.approx(1000 / 24, rel=0.1)
    assert hour.jobs == pytest.approx(4 * 24, rel=0.05)
    assert alone.hours == pytest.approx((4000 * 30.1 + alone.retrainings * 300) / 3600, rel=0.05)
    assert alone.money_busy == pytest.approx(2 * alone.hours)
    assert hour.workers_needed == 1
    assert hour.money_reserved == 48.0
    assert hour.storage_gb == pytest.approx(0.012 + 365 * (4000 * 4 + hour.jobs * 8) / 1e6)
    assert plan.cheapest([alone, hour, day]) is day, "they need one worker; it is busy the least"


def test_a_policy_that_is_late_is_none_however_cheap() -> None:
    asked = scenario(deadline=4 * 3600.0)
    hour, day = compare(asked, [Batching(3600), Batching(DAY)])
    assert (hour.meets, hour.late) == (True, 0)
    assert (day.meets, day.workers_needed, day.money_reserved) == (False, None, None)
    assert day.late > 0.5
    assert plan.cheapest([hour, day]) is hour
    assert plan.cheapest([day]) is None


def test_the_fewest_workers_are_those_that_are_still_in_time() -> None:
    many = Scenario([Group(20, 8000.0, 10_000, replace(COSTS, retrain_seconds=0.0))], 8)
    found = figures(many, Batching())
    assert found.load == pytest.approx(8000 * 30.1 / 8 / DAY, rel=0.1)
    assert found.workers_needed == 3, "less than a day's work for three"
    soon = figures(replace(many, deadline=180.0), Batching())
    assert soon.workers_needed is None or soon.workers_needed > 3


def test_what_is_wrong_with_the_policy_in_force_is_said() -> None:
    def said(batching: Batching, **values: Any) -> str | None:
        asked = scenario(**values)
        return plan.warning(batching, figures(asked, batching), asked.deadline)

    assert said(Batching(600)) is None
    assert "gathers for longer than the deadline" in str(said(Batching(7200), deadline=3600.0))
    assert "grows without end" in str(said(Batching(), workers=1))
    assert "of the requests late" in str(said(Batching(3599), deadline=3600.0))


def test_one_model_may_be_asked_far_more_than_another() -> None:
    alike, unlike = (
        [len(queue.arrivals) for queue in plan.queues(Scenario([group]), 1.0)]
        for group in (Group(4, 4000, 10_000, COSTS), Group(4, 4000, 10_000, COSTS, skew=1.0))
    )
    assert max(alike) < 1.2 * min(alike)
    assert unlike[0] > 3 * unlike[3]
    assert plan.queues(Scenario([Group(1, 10, 50, COSTS)]), 1.0)[0].most == 5


def test_a_scenario_from_a_file() -> None:
    group = {"requests_per_day": 10, "subjects": 100, "costs": COSTS.to_dict()}
    given = {"groups": [group, group | {"name": "b", "models": 3}], "workers": 2, "gpu_price": 1.5}
    found = plan.scenario_of(json.loads(json.dumps(given)))
    assert [each.name for each in found.groups] == ["group 1", "b"]
    assert found.groups[0].costs == COSTS
    assert (found.requests_per_day, found.workers, found.deadline) == (20, 2, 30 * DAY)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups": []}, "needs a group"),
        ({"workers": 0}, "needs a group of models, a worker"),
        ({"groups": 5}, "the scenario is wrong"),
        ({"groups": [{"subjects": 1}]}, "'requests_per_day' is missing"),
        ({"groups": [{"subjects": 0, "requests_per_day": 1, "costs": {"fixed_seconds": 1}}]},
         "must be 1 or more"),
        ({"groups": [{"subjects": 9, "requests_per_day": 1e9, "costs": {"fixed_seconds": 1}}]},
         "must be 1 to 2,000,000"),
    ],
)  # fmt: skip
def test_a_scenario_that_cannot_be_played_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        plan.scenario_of({"groups": []} | change)


def test_costs_are_fitted_by_least_squares() -> None:
    fixed, slope, spread = fit([10, 20, 30], [3.0, 4.0, 5.0])
    assert (fixed, slope) == (pytest.approx(2.0), pytest.approx(0.1))
    assert spread == (1.0, 1.0, 1.0)
    assert fit([10, 10], [3.0, 5.0]) == (4.0, 0.0, (0.75, 1.25)), "one size tells of no slope"
    assert fit([1, 100], [5.0, 4.0])[:2] == (4.5, 0.0), "none costs less than nothing"
    fixed, slope, _ = fit([10, 1000], [0.5, 200.0])
    assert (fixed, slope) == (0.0, pytest.approx(200.5 / 1010))


def test_costs_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"costs": COSTS.to_dict(), "policies": []}))
    assert read(file) == COSTS
    assert COSTS.seconds(100) == 31.0
    file.write_text('{"fixed_seconds": 2}')
    assert read(file) == Costs(2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("{}", "fixed_seconds is missing"),
        ('{"fixed_seconds": -1}', "must be a number and not negative"),
        ('{"fixed_seconds": 1, "spread": []}', "spread must be a list"),
        ('{"fixed_seconds": 1, "hours": 2}', "unknown hours"),
    ],
)
def test_wrong_costs_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(Invalid, match=said):
        read(file)


def test_progress_is_told_after_each_policy() -> None:
    told: list[int] = []
    compare(scenario(), [Batching(DAY), Batching(3600)], told.append)
    assert told == [1, 2]
