"""Batch policies beside one another: jobs, hours, waits, storage and money of each.

A policy meets its deadlines when every request simulated is erased in time and the work of a day
fits into a day. The fewest workers that manage this decide what it costs; busy hours come second,
for a worker that is rented by the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from core.capacity.costs import Costs
from core.capacity.simulation import DAY, Batching, Ended, Float, Queue, play
from core.drift import Budget
from core.errors import Invalid

WINDOWS = (0.0, 60.0, 600.0, 3600.0, 6 * 3600.0, DAY)
"""Batch windows that are set beside one another, in seconds."""

MOST_REQUESTS = 2_000_000
"""Requests that one simulation plays at most."""


@dataclass(frozen=True)
class Group:
    """Models alike: how many, requests a day for all of them together, people in the data set of
    each, and what their jobs cost. skew: 0 for as many requests for each; at 1 the second model
    has half as many as the first, the third a third (Zipf)."""

    models: int
    requests_per_day: float
    subjects: int
    costs: Costs
    name: str = "models"
    skew: float = 0.0


@dataclass(frozen=True)
class Prices:
    """Of an hour of a worker's GPU (or core), and of a gigabyte for a month."""

    gpu_hour: float = 0.0
    gb_month: float = 0.023


@dataclass(frozen=True)
class Scenario:
    """Everything but the policy. deadline: seconds from receipt. workers: as many as there are.
    review_share: of a data set that one job may erase (LETHE_REVIEW_SHARE)."""

    groups: Sequence[Group]
    workers: int = 1
    deadline: float = 30 * DAY
    prices: Prices = Prices()
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    review_share: float = 0.10

    @property
    def requests_per_day(self) -> float:
        """For all models together."""
        return sum(group.requests_per_day for group in self.groups)


@dataclass(frozen=True)
class Figures:
    """One policy, by day. hours: that workers are busy. load: of all workers together, 0..1 where
    the work of a day fits into it. p50, p99, worst: seconds from receipt to erasure. late: share of
    requests. pressed: share of jobs that went first because of their due date. workers_needed:
    the fewest that meet the deadlines, None where as many as there are do not; money: theirs.
    storage_gb: checkpoints at the most, and what a year of records adds."""

    batching: Batching
    jobs: float
    requests_per_job: float
    retrainings: float
    hours: float
    load: float
    p50: float
    p99: float
    worst: float
    late: float
    pressed: float
    meets: bool
    workers_needed: int | None
    money_busy: float
    money_reserved: float | None
    storage_gb: float

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types, the policy's two numbers beside the others."""
        plain = asdict(self)
        batching = plain.pop("batching")
        return {
            "batch_seconds": batching["seconds"],
            "batch_requests": batching["requests"],
        } | plain


def scenario_of(given: Mapping[str, Any]) -> Scenario:
    """A scenario from a file's object; raises `Invalid`.

    groups: a list of name, models, requests_per_day, subjects, skew, costs. Beside them workers,
    deadline_hours, gpu_price, seed.
    """
    try:
        groups = [
            Group(
                int(each.get("models", 1)),
                float(each["requests_per_day"]),
                int(each["subjects"]),
                Costs.from_dict(each["costs"]),
                str(each.get("name", f"group {number}")),
                float(each.get("skew", 0.0)),
            )
            for number, each in enumerate(given["groups"], 1)
        ]
        scenario = Scenario(
            groups,
            int(given.get("workers", 1)),
            3600 * float(given.get("deadline_hours", 720)),
            Prices(float(given.get("gpu_price", 0.0))),
            seed=int(given.get("seed", 0)),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise Invalid(f"the scenario is wrong: {what}") from None
    check(scenario)
    return scenario


def check(scenario: Scenario) -> None:
    """Refuse what cannot be played; raises `Invalid`."""
    if not scenario.groups or scenario.workers < 1 or scenario.deadline <= 0:
        raise Invalid("a scenario needs a group of models, a worker and a deadline")
    for group in scenario.groups:
        if group.models < 1 or group.requests_per_day < 0 or group.subjects < 1:
            raise Invalid(
                f"{group.name}: models and subjects must be 1 or more, requests not negative"
            )
    if not 1 <= scenario.requests_per_day <= MOST_REQUESTS:
        raise Invalid(f"requests a day must be 1 to {MOST_REQUESTS:,}")


def queues(scenario: Scenario, days: float) -> list[Queue]:
    """The requests of so many days, at random moments, as each model gets them."""
    rng = np.random.default_rng(scenario.seed)
    found = []
    for group in scenario.groups:
        weights = np.arange(1, group.models + 1, dtype=float) ** -group.skew
        counts = rng.poisson(group.requests_per_day * days * weights / weights.sum())
        # A job that erases more of the data set waits for a reviewer, and gathers no more.
        most = max(1, math.floor(scenario.review_share * group.subjects))
        found += [
            Queue(np.sort(rng.uniform(0, days * DAY, count)), group.costs, most)
            for count in counts.tolist()
        ]
    return found


def compare(
    scenario: Scenario,
    policies: Sequence[Batching],
    on_policy: Callable[[int], None] | None = None,
) -> list[Figures]:
    """Each policy's figures; `on_policy` is called with how many are done."""
    check(scenario)
    found = []
    for number, batching in enumerate(policies):
        found.append(figures(scenario, batching))
        if on_policy is not None:
            on_policy(number + 1)
    return found


def figures(scenario: Scenario, batching: Batching) -> Figures:
    """One policy: played with all workers, and with as few as will do."""
    # A window must open and close several times; fewer requests than a million in all.
    days = max(1.0, min(3 * batching.seconds / DAY, MOST_REQUESTS / scenario.requests_per_day))
    asked = queues(scenario, days)

    def played(workers: int) -> Ended:
        return play(
            asked,
            batching,
            workers,
            deadline=scenario.deadline,
            budget=scenario.budget,
            settled=True,
            seed=scenario.seed,
        )

    ended = played(scenario.workers)
    day = ended.busy / days
    needed = None
    if _meets(ended, day, scenario.workers):
        needed = max(1, math.ceil(day / DAY))
        while needed < scenario.workers and not _meets(played(needed), day, needed):
            needed += 1
    price, waits = scenario.prices.gpu_hour, ended.waits
    return Figures(
        batching,
        jobs=ended.jobs / days,
        requests_per_job=len(waits) / max(1, ended.jobs),
        retrainings=ended.retrainings / days,
        hours=day / 3600,
        load=day / DAY / scenario.workers,
        p50=_quantile(waits, 0.5),
        p99=_quantile(waits, 0.99),
        worst=_quantile(waits, 1.0),
        late=ended.late / max(1, len(waits)),
        pressed=ended.pressed / max(1, ended.jobs),
        meets=needed is not None,
        workers_needed=needed,
        money_busy=day / 3600 * price,
        money_reserved=None if needed is None else needed * 24 * price,
        storage_gb=_storage(scenario, ended.jobs / days),
    )


def _meets(ended: Ended, day: float, workers: int) -> bool:
    """In time, and no more work comes in a day than can be done in one."""
    return ended.late == 0 and day < workers * DAY


def _quantile(waits: Float, share: float) -> float:
    return float(np.quantile(waits, share)) if len(waits) else 0.0


def _storage(scenario: Scenario, jobs: float) -> float:
    """Three checkpoints a model (served, candidate, not destroyed yet), and a year's records."""
    checkpoints = sum(3 * g.models * g.costs.checkpoint_mb for g in scenario.groups) / 1e3
    requests = sum(g.requests_per_day * g.costs.request_kb for g in scenario.groups)
    of_jobs = jobs * max((g.costs.job_kb for g in scenario.groups), default=0.0)
    return checkpoints + 365 * (requests + of_jobs) / 1e6


def cheapest(found: Sequence[Figures]) -> Figures | None:
    """Of the policies that meet the deadlines: the fewest workers, then the fewest busy hours,
    then the shortest wait."""
    meeting = [each for each in found if each.workers_needed is not None]
    if not meeting:
        return None
    return min(meeting, key=lambda each: (each.workers_needed or 0, each.hours, each.p99))


def warning(batching: Batching, found: Figures, deadline: float) -> str | None:
    """What is wrong with the policy in force, in words; None when nothing is."""
    if batching.seconds >= deadline:
        return (
            f"LETHE_BATCH_SECONDS={batching.seconds:g} gathers for longer than the deadline of "
            f"{deadline:g} s"
        )
    if found.load >= 1:
        return (
            f"the policy in force asks for {found.load:.1f} times the work that the workers can "
            "do: the queue grows without end; gather for longer, or start more workers"
        )
    if not found.meets:
        return (
            f"the policy in force makes {found.late:.1%} of the requests late: the slowest takes "
            f"{found.worst:,.0f} s of the {deadline:,.0f} s there are"
        )
    return None
