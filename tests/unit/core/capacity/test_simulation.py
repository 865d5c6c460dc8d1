"""The simulated queue: gathers as core.enlist does, claims in the order of core.turns."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import turns
from core.capacity.costs import Costs
from core.capacity.simulation import DAY, Batching, Queue, gather, play
from core.drift import Budget
from core.turns import Tags, Waiting

NEVER = Budget(jobs=1_000_000, erased_share=1.0)


def queue(*arrivals: float, seconds: float = 10.0, **costs: float) -> Queue:
    return Queue(np.array(arrivals), Costs(seconds, **costs))  # type: ignore[arg-type]


def test_requests_gather_within_the_window_until_the_job_is_full() -> None:
    arrivals = np.array([0.0, 5, 9, 10, 11, 12, 13, 40])
    first, ready = gather(arrivals, Batching(10, 3), 100)
    assert first.tolist() == [0, 3, 6, 7]
    assert ready.tolist() == [9, 12, 23, 50], "a full one waits no longer"
    first, ready = gather(arrivals, Batching(10, 500), 2)
    assert first.tolist() == [0, 2, 4, 6, 7], "nor does one that a reviewer would have to see"
    assert gather(arrivals, Batching(0, 500), 9)[0].tolist() == list(range(8))


def test_waits_are_from_receipt_to_the_end_of_the_job() -> None:
    ended = play([queue(0.0, 4.0, 100.0)], Batching(5, 500), 1, budget=NEVER)
    assert ended.waits.tolist() == [15, 11, 15]
    assert (ended.jobs, ended.busy, ended.last, ended.late) == (2, 20.0, 115.0, 0)


def test_one_job_a_model_however_many_workers() -> None:
    alone = play([queue(0.0, 0.0, 0.0)], Batching(), 8, budget=NEVER)
    assert alone.waits.tolist() == [10, 20, 30]
    beside = play([queue(0.0)] * 3, Batching(), 2, budget=NEVER)
    assert sorted(beside.waits.tolist()) == [10, 10, 20]


def test_samples_cost_and_jobs_vary_as_measured() -> None:
    one = play([queue(0.0, 1.0, sample_seconds=0.5, samples_per_subject=4.0)], Batching(2), 1)
    assert one.busy == 10 + 0.5 * 8
    costs = Costs(10.0, spread=(0.5, 1.5))
    many = [Queue(np.arange(0, 1e5, 100.0), costs)]
    lasted = play(many, Batching(), 1, seed=3, budget=NEVER).waits
    assert set(np.round(lasted, 6)) == {5.0, 15.0}
    assert (lasted == play(many, Batching(), 1, seed=3, budget=NEVER).waits).all()
    assert (lasted != play(many, Batching(), 1, seed=4, budget=NEVER).waits).any()


def test_a_retraining_comes_when_the_budget_is_spent_and_nothing_else_waits() -> None:
    arrivals = (0.0, 100.0, 200.0, 300.0, 310.0, 500.0)
    asked = [queue(*arrivals, retrain_seconds=50.0)]
    ended = play(asked, Batching(), 1, budget=Budget(jobs=2))
    assert ended.retrainings == 2, "the fifth was received in time to be part of the second"
    assert ended.busy == 6 * 10 + 2 * 50
    assert ended.waits.tolist() == [10, 10, 10, 10, 10, 10]
    in_its_way = play([queue(0.0, 20.0, 40.0, retrain_seconds=50.0)], Batching(), 1,
                      budget=Budget(jobs=1))  # fmt: skip
    assert in_its_way.waits.tolist() == [10, 50, 40], "a model's own jobs wait for its retraining"
    share = [queue(*arrivals, retrain_seconds=50.0, samples_per_subject=10.0, trained=200)]
    assert play(share, Batching(), 1).retrainings == 5, "a twentieth of it is erased by each"
    assert play([queue(*arrivals)], Batching(), 1, budget=Budget(jobs=2)).retrainings == 0


def test_a_settled_model_has_spent_some_of_its_budget_already() -> None:
    many = [queue(*np.arange(0, 1000.0, 20), retrain_seconds=1.0) for _ in range(40)]
    fresh, settled = (
        play(many, Batching(), 40, budget=Budget(jobs=100), settled=each) for each in (False, True)
    )
    assert fresh.retrainings == 0
    assert 10 < settled.retrainings < 30, "fifty jobs spend half of it"


def test_late_ones_are_counted_and_due_dates_press() -> None:
    asked = [queue(*np.zeros(30)), queue(1.0)]
    calm = play(asked, Batching(), 1, deadline=1e6, budget=NEVER)
    assert (calm.late, calm.pressed) == (0, 0)
    assert calm.waits[-1] == 19, "the quiet model has its turn"
    tight = play(asked, Batching(), 1, deadline=200, budget=NEVER)
    assert tight.late == 11
    assert tight.pressed == 31
    assert tight.waits[-1] == 309


def slowly(queues: list[Queue], batching: Batching, workers: int, deadline: float) -> list[object]:
    """The same by `turns.order` itself, asked anew at each claim."""
    jobs, coming = {}, []
    for m, each in enumerate(queues):
        first, ready = gather(each.arrivals, batching, each.most)
        sizes = np.diff(np.append(first, len(each.arrivals)))
        for number, (i, at, size) in enumerate(zip(first, ready, sizes, strict=True)):
            seconds = each.costs.seconds(float(size) * each.costs.samples_per_subject)
            jobs[m, number] = (float(each.arrivals[i]), float(at), seconds)
            coming.append((float(at), m, number))
    mean = [
        np.mean([s for (m, _), (_, _, s) in jobs.items() if m == i] or [0.0])
        for i in range(len(queues))
    ]
    longest, tags = max(mean), Tags(0.0, {})
    claimed: list[object] = []
    running: list[tuple[float, int]] = []
    moments = sorted({at for at, _, _ in coming})
    now = 0.0
    while len(claimed) < len(jobs):
        now = min([t for t in [*moments, *(end for end, _ in running)] if t >= now])
        running = [each for each in running if each[0] > now]
        moments = [t for t in moments if t > now]
        while len(running) < workers:
            busy = {m for _, m in running}
            heads: dict[int, Waiting] = {}
            for (m, number), (queued, at, _) in sorted(jobs.items()):
                ready = at <= now and m not in busy and (m, number) not in claimed
                if ready and m not in heads:
                    name, due = f"{m:02}-{number:03}", queued + deadline
                    heads[m] = Waiting(name, str(m), queues[m].weight, float(mean[m]), due, queued)
            if not heads:
                break
            work = sum(mean[m] for (m, n), (q, _, _) in jobs.items()
                       if q <= now and (m, n) not in claimed)  # fmt: skip
            reserve = turns.reserve(float(work), float(longest))
            took, *_ = order = turns.order(list(heads.values()), tags, now, reserve)
            virtual, finish = turns.charged(took, order, tags)
            tags = Tags(virtual, dict(tags.finish) | {took.tenant: finish})
            m, number = (int(part) for part in took.job_id.split("-"))
            claimed.append((m, number))
            running.append((now + jobs[m, number][2], m))
    return claimed


@given(
    arrivals=st.lists(
        st.lists(st.integers(0, 300), min_size=1, max_size=10), min_size=1, max_size=4
    ),
    window=st.sampled_from([0.0, 7.5, 60.5]),
    workers=st.integers(1, 3),
    deadline=st.sampled_from([150.25, 400.25, 1e7]),
)
@settings(max_examples=40)
def test_claims_are_those_of_the_services_own_order(
    arrivals: list[list[int]], window: float, workers: int, deadline: float
) -> None:
    # Costs and moments that never tie, so that there is one order.
    queues = [
        Queue(np.sort(np.array(each) + 0.01 * m + 0.001 * np.arange(len(each))),
              Costs(7.3 + 1.7 * m, 0.11), weight=1.0 + m)
        for m, each in enumerate(arrivals)
    ]  # fmt: skip
    ended = play(queues, Batching(window, 4), workers, deadline=deadline, budget=NEVER)
    assert ended.claimed == slowly(queues, Batching(window, 4), workers, deadline)


@pytest.mark.long
def test_a_day_of_a_hundred_thousand_requests_is_played_in_seconds() -> None:
    rng = np.random.default_rng(0)
    asked = [Queue(np.sort(rng.uniform(0, DAY, 1000)), Costs(3.0)) for _ in range(100)]
    began = time.process_time()
    ended = play(asked, Batching(), 8)
    assert ended.jobs == 100_000
    assert time.process_time() - began < 20
