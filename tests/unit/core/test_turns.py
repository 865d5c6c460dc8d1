"""Whose turn it is: due dates that press come first, and what is left is shared fairly.

The day is played with `turns.order` alone; what is drawn are jobs, their costs and their dates.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core import turns
from core.turns import Tags, Waiting

Order = Callable[[list[Waiting], Tags, float, float], list[Waiting]]


def job(name: str, tenant: str = "a", due: float = 1e9, **values: float) -> Waiting:
    return Waiting(name, tenant, **({"weight": 1, "seconds": 10, "queued": 0} | values), due=due)  # type: ignore[arg-type]


def names(jobs: Sequence[Waiting], tags: Tags | None = None, reserve: float = 100) -> list[str]:
    found = turns.order(jobs, tags or Tags(0, {}), 0.0, reserve)
    return [each.job_id for each in found]


def test_what_presses_comes_first_the_soonest_due_first() -> None:
    jobs = [job("later", due=99), job("far", due=101), job("late", due=-5), job("at", due=100)]
    assert names(jobs) == ["late", "later", "at", "far"]


def test_what_does_not_press_is_shared_and_a_tenants_own_go_by_due_date() -> None:
    jobs = [job("a2", due=900), job("a1", due=800), job("b", "b", due=999)]
    assert names(jobs, Tags(0, {"a": 10})) == ["b", "a1", "a2"]
    assert names(jobs, Tags(0, {"b": 10})) == ["a1", "a2", "b"]
    assert names(jobs, Tags(50, {"b": 10, "a": 30})) == ["a1", "a2", "b"], "nobody has credit"


def test_a_retraining_that_is_not_due_is_last_even_when_it_presses() -> None:
    spare = replace(job("spare", due=50), spare=True)
    assert names([spare, job("far", due=1e6), job("near", due=90)]) == ["near", "far", "spare"]


def test_a_claim_is_charged_by_weight() -> None:
    jobs = [job("x", "a", seconds=30, weight=3), job("y", "b")]
    assert turns.charged(jobs[0], jobs, Tags(5, {"a": 7})) == (5, 17)
    assert turns.charged(jobs[1], jobs, Tags(5, {"a": 7, "b": 9})) == (7, 19)


def test_a_spare_job_does_not_hold_the_time_back() -> None:
    spare = replace(job("s", "b"), spare=True)
    assert turns.charged(job("x"), [job("x"), spare], Tags(0, {"a": 40})) == (40, 50)
    assert turns.charged(spare, [spare], Tags(0, {"b": 3})) == (3, 13)


def by_due_date(waiting: list[Waiting], tags: Tags, now: float, reserve: float) -> list[Waiting]:
    return sorted(waiting, key=lambda each: (each.due, each.queued, each.job_id))


@dataclass
class Pass:
    """A moment at which one was claimed that is due later than `passed`."""

    passed: Waiting
    presses: bool
    could_be_claimed: bool


@dataclass
class Played:
    """When each job ended, who was let past, and when each tenant's jobs ran."""

    ended: dict[str, float]
    past: list[Pass]
    worked: dict[str, list[tuple[float, float]]]


def play(jobs: Sequence[Waiting], workers: int, order: Order) -> Played:
    """Run the jobs as workers claim them: one of a model (here: a tenant) at a time."""
    coming = sorted(jobs, key=lambda each: each.queued)
    waiting: list[Waiting] = []
    running: list[tuple[float, str, Waiting]] = []
    tags, now, played = Tags(0.0, {}), 0.0, Played({}, [], {})
    while coming or waiting or running:
        while coming and coming[0].queued <= now:
            waiting.append(coming.pop(0))
        busy = {each.tenant for _, _, each in running}
        free = [each for each in waiting if each.tenant not in busy]
        # As the database is asked: of each model only the job that is due soonest.
        heads = {each.tenant: each for each in reversed(by_due_date(free, tags, now, 0.0))}
        if heads and len(running) < workers:
            queued = sum(each.seconds for each in waiting)
            all_of = [*waiting, *(each for _, _, each in running)]
            longest = max(each.seconds for each in all_of)
            reserve = turns.reserve(queued, longest)
            found = order(list(heads.values()), tags, now, reserve)
            took = found[0]
            played.past += [
                Pass(each, each.due <= now + reserve, each in found)
                for each in waiting
                if each.due < took.due
            ]
            virtual, finish = turns.charged(took, found, tags)
            tags = Tags(virtual, dict(tags.finish) | {took.tenant: finish})
            waiting.remove(took)
            heapq.heappush(running, (now + took.seconds, took.job_id, took))
            continue
        upcoming = [coming[0].queued] if coming else []
        now = min([*upcoming, *(end for end, _, _ in running)])
        while running and running[0][0] <= now:
            end, job_id, done = heapq.heappop(running)
            played.ended[job_id] = end
            played.worked.setdefault(done.tenant, []).append((end - done.seconds, end))
    return played


@st.composite
def a_day(draw: st.DrawFn) -> list[Waiting]:
    """Jobs as they come, due in the order in which they come."""
    count = draw(st.integers(2, 25))
    found, due, queued = [], 0.0, 0.0
    for number in range(count):
        queued += draw(st.sampled_from([0, 0, 1, 5, 40]))
        ahead = draw(st.integers(5, 900))
        due = max(due, queued + ahead)
        tenant = f"t{draw(st.integers(0, 3))}"
        seconds = draw(st.integers(1, 20))
        found.append(Waiting(f"{number:02}", tenant, 1.0, float(seconds), due, queued))
    return found


@given(jobs=a_day())
@settings(max_examples=40)
def test_with_one_worker_nothing_is_late_that_due_dates_alone_would_not_make_late(
    jobs: list[Waiting],
) -> None:
    plain, shared = (play(jobs, 1, each) for each in (by_due_date, turns.order))
    for each in jobs:
        if plain.ended[each.job_id] <= each.due:
            assert shared.ended[each.job_id] <= each.due


@given(jobs=a_day(), workers=st.integers(1, 3))
@settings(max_examples=40)
def test_nothing_that_was_let_past_while_it_did_not_press_is_late(
    jobs: list[Waiting], workers: int
) -> None:
    """And what pressed was let past only while another job of its model was held."""
    played = play(jobs, workers, turns.order)
    for each in played.past:
        if each.presses:
            assert not each.could_be_claimed
        else:
            assert played.ended[each.passed.job_id] <= each.passed.due


@given(
    costs=st.lists(st.lists(st.integers(1, 20), min_size=3, max_size=12), min_size=2, max_size=4),
    weights=st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=4, max_size=4),
)
@settings(max_examples=40)
def test_shares_differ_by_a_job_of_each_at_most(
    costs: list[list[int]], weights: list[float]
) -> None:
    """Of tenants that have jobs waiting all the while, and nothing presses (SFQ, theorem 1)."""
    jobs = [
        Waiting(f"{t}-{n:02}", f"t{t}", weights[t], float(seconds), 1e9, 0.0)
        for t, each in enumerate(costs)
        for n, seconds in enumerate(each)
    ]
    played = play(jobs, 1, turns.order)
    until = min(max(end for _, end in played.worked[f"t{t}"]) for t in range(len(costs)))
    moments = sorted(end for spans in played.worked.values() for _, end in spans)
    had = {
        t: [(sum(e - s for s, e in played.worked[f"t{t}"] if e <= m)) for m in moments]
        for t in range(len(costs))
    }
    for t in range(len(costs)):
        for other in range(t):
            bound = max(costs[t]) / weights[t] + max(costs[other]) / weights[other]
            for i, moment in enumerate(moments):
                if moment < until:
                    apart = had[t][i] / weights[t] - had[other][i] / weights[other]
                    assert abs(apart) <= bound


@given(st.integers(5, 40))
def test_a_busy_model_does_not_keep_others_waiting(many: int) -> None:
    """By due dates alone, one job of another model would wait behind all of them."""
    busy = [Waiting(f"a{n:02}", "a", 1.0, 10.0, 1e6 + n, 0.0) for n in range(many)]
    assume(many > 3)
    one = Waiting("b", "b", 1.0, 10.0, 2e6, 1.0)
    assert play([*busy, one], 1, by_due_date).ended["b"] == 10.0 * (many + 1)
    assert play([*busy, one], 1, turns.order).ended["b"] == 20.0
