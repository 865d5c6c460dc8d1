"""A queue simulated: requests come, gather into jobs, and workers run these in turn.

Gathering is that of core.enlist: a job takes what comes for its model within the window, until it
is full. The order is that of core.turns, one job a model. A retraining that the drift budget asks
for is run when nothing else can be.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core import turns
from core.capacity.costs import Costs
from core.drift import Budget

Float = NDArray[np.float64]
Int = NDArray[np.int64]

DAY = 86_400.0


@dataclass(frozen=True)
class Batching:
    """LETHE_BATCH_SECONDS and LETHE_BATCH_REQUESTS."""

    seconds: float = 0.0
    requests: int = 500


@dataclass(frozen=True)
class Ended:
    """What came of it. Seconds throughout; one entry in `waits` for each request, from receipt to
    erasure. busy: of all workers together. last: when the last job ended. claimed: the jobs in
    the order in which they were claimed, as (model, number within the model)."""

    waits: Float
    jobs: int
    retrainings: int
    busy: float
    last: float
    late: int
    pressed: int
    claimed: list[tuple[int, int]] = field(repr=False, default_factory=list)


def gather(arrivals: Float, batching: Batching, most: int) -> tuple[Int, Float]:
    """Arrivals of one model, ascending, as jobs: the first request of each, and when it is ready.

    most: requests in a job beside batching's own limit, so that no reviewer must look at it.
    """
    full = max(1, min(batching.requests, most)) if batching.seconds else 1
    first: list[int] = []
    ready: list[float] = []
    i, n = 0, len(arrivals)
    within = np.searchsorted(arrivals, arrivals + batching.seconds, side="left")
    while i < n:
        end = min(i + full, max(i + 1, int(within[i])))
        first.append(i)
        ready.append(
            float(arrivals[end - 1] if end - i == full else arrivals[i] + batching.seconds)
        )
        i = end
    return np.array(first, dtype=np.int64), np.array(ready)


@dataclass(frozen=True)
class Queue:
    """One model's requests, as they came, and what its jobs cost."""

    arrivals: Float
    costs: Costs
    most: int = 1_000_000
    weight: float = 1.0


@dataclass
class _Model:
    """A model under way. waiting: numbers of its jobs that are ready, the first due first."""

    first: Int
    ready: Float
    due: Float
    seconds: Float
    expected: float
    sizes: Int
    weight: float
    waiting: deque[int] = field(default_factory=deque)
    busy: bool = False
    finish: float = 0.0
    jobs: float = 0.0
    erased: float = 0.0
    asked: bool = False
    ended: list[float] = field(default_factory=list)


def play(
    queues: Sequence[Queue],
    batching: Batching,
    workers: int,
    *,
    deadline: float = 30 * DAY,
    budget: Budget | None = None,
    settled: bool = False,
    seed: int = 0,
) -> Ended:
    """Run the requests of all models to their end. deadline: seconds from receipt. settled: each
    model has spent some part of its drift budget before, drawn at random, not nothing.

    Same seed, same result. Some seconds for 100,000 jobs.
    """
    return _Day(queues, batching, workers, deadline, budget or Budget(), settled, seed).run()


class _Day:
    def __init__(
        self,
        queues: Sequence[Queue],
        batching: Batching,
        workers: int,
        deadline: float,
        budget: Budget,
        settled: bool,
        seed: int,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._queues, self._budget, self._deadline = queues, budget, deadline
        self._models = [self._model(queue, batching) for queue in queues]
        if settled:
            for model, queue in zip(self._models, queues, strict=True):
                spent = float(self._rng.uniform())
                model.jobs = spent * budget.jobs
                model.erased = spent * budget.erased_share * queue.costs.trained
        order = [
            (float(ready), m, number)
            for m, model in enumerate(self._models)
            for number, ready in enumerate(model.ready.tolist())
        ]
        self._coming = deque(sorted(order))
        received = [
            np.stack([queue.arrivals[model.first], np.full(len(model.first), model.expected)])
            for queue, model in zip(queues, self._models, strict=True)
        ]
        joined = np.concatenate(received, axis=1)
        joined = joined[:, np.argsort(joined[0])]
        self._queued_at, self._expected = joined[0].tolist(), joined[1].tolist()
        self._entered = 0
        self._queued = 0.0
        self._longest = max((model.expected for model in self._models), default=0.0)
        self._free = workers
        self._virtual = 0.0
        # Models that can be claimed: by tag where that lies ahead of the virtual time, by due
        # date where it does not, and by due date all of them. Entries that no longer hold are
        # passed over.
        self._ahead: list[tuple[float, float, float, int, int]] = []
        self._level: list[tuple[float, float, int, int]] = []
        self._soonest: list[tuple[float, float, int, int]] = []
        self._spare: deque[int] = deque()
        self._running: list[tuple[float, int, int]] = []  # end, model, job or -1: a retraining
        self._busy = 0.0
        self._retrainings = self._pressed = 0
        self._claimed: list[tuple[int, int]] = []

    def _model(self, queue: Queue, batching: Batching) -> _Model:
        first, ready = gather(queue.arrivals, batching, queue.most)
        sizes = np.diff(np.append(first, len(queue.arrivals)))
        costs = queue.costs
        samples = sizes * costs.samples_per_subject
        spread = self._rng.choice(np.array(costs.spread), size=len(first))
        mean = costs.fixed_seconds + costs.sample_seconds * samples
        return _Model(
            first,
            ready,
            queue.arrivals[first] + self._deadline,
            mean * spread,
            float(mean.mean()) if len(mean) else 0.0,
            sizes,
            queue.weight,
        )

    def run(self) -> Ended:
        now = 0.0
        while self._coming or self._running:
            upcoming = self._coming[0][0] if self._coming else float("inf")
            ends = self._running[0][0] if self._running else float("inf")
            now = min(upcoming, ends)
            while self._running and self._running[0][0] <= now:
                self._end(*heapq.heappop(self._running))
            while self._coming and self._coming[0][0] <= now:
                _, m, number = self._coming.popleft()
                self._models[m].waiting.append(number)
                if len(self._models[m].waiting) == 1:
                    self._offer(m)
            while self._entered < len(self._queued_at) and self._queued_at[self._entered] <= now:
                self._queued += self._expected[self._entered]
                self._entered += 1
            while self._free and (chosen := self._choose(now)) is not None:
                self._claim(chosen, now)
            while self._free and self._retrain(now):
                pass
        return self._result()

    def _offer(self, m: int) -> None:
        """The model can be claimed from now on, with the job that is due first."""
        model = self._models[m]
        if model.busy or not model.waiting:
            return
        number = model.waiting[0]
        due, queued = float(model.due[number]), float(model.due[number])
        heapq.heappush(self._soonest, (due, queued, m, number))
        if model.finish > self._virtual:
            heapq.heappush(self._ahead, (model.finish, due, queued, m, number))
        else:
            heapq.heappush(self._level, (due, queued, m, number))

    def _holds(self, m: int, number: int) -> bool:
        model = self._models[m]
        return not model.busy and bool(model.waiting) and model.waiting[0] == number

    def _choose(self, now: float) -> int | None:
        """The model whose turn it is, as `turns.order` has it; None when none can be claimed."""
        while self._soonest and not self._holds(*self._soonest[0][2:]):
            heapq.heappop(self._soonest)
        if not self._soonest:
            return None
        while self._level and not self._holds(*self._level[0][2:]):
            heapq.heappop(self._level)
        if not self._level:
            while not self._holds(*self._ahead[0][3:]):
                heapq.heappop(self._ahead)
            # Time goes on to the first tag, and whoever has the same tag is level with it.
            self._virtual = max(self._virtual, self._ahead[0][0])
            while self._ahead and self._ahead[0][0] <= self._virtual:
                _, due, queued, m, number = heapq.heappop(self._ahead)
                if self._holds(m, number):
                    heapq.heappush(self._level, (due, queued, m, number))
        reserve = turns.reserve(max(0.0, self._queued), self._longest)
        if self._soonest[0][0] <= now + reserve:
            self._pressed += 1
            return self._soonest[0][2]
        return self._level[0][2]

    def _claim(self, m: int, now: float) -> None:
        model = self._models[m]
        number = model.waiting.popleft()
        model.busy = True
        start = max(self._virtual, model.finish)
        model.finish = start + model.expected / model.weight
        self._queued -= model.expected
        self._run(now + float(model.seconds[number]), m, number, float(model.seconds[number]))
        self._claimed.append((m, number))

    def _retrain(self, now: float) -> bool:
        """Begin a retraining that waits, of a model that no job holds; was there one?"""
        m = next((m for m in self._spare if not self._models[m].busy), None)
        if m is None:
            return False
        self._spare.remove(m)
        self._models[m].busy = True
        self._retrainings += 1
        seconds = self._queues[m].costs.retrain_seconds
        self._run(now + seconds, m, -1, seconds)
        return True

    def _run(self, end: float, m: int, number: int, seconds: float) -> None:
        self._free -= 1
        self._busy += seconds
        heapq.heappush(self._running, (end, m, number))

    def _end(self, end: float, m: int, number: int) -> None:
        model, costs = self._models[m], self._queues[m].costs
        self._free += 1
        model.busy = False
        if number < 0:
            model.jobs, model.erased, model.asked = 0, 0.0, False
        else:
            model.ended.append(end)
            model.jobs += 1
            model.erased += float(model.sizes[number]) * costs.samples_per_subject
            share = model.erased / costs.trained if costs.trained else 0.0
            spent = model.jobs >= self._budget.jobs or share >= self._budget.erased_share
            if spent and costs.retrain_seconds and not model.asked:
                model.asked = True
                self._spare.append(m)
        self._offer(m)

    def _result(self) -> Ended:
        waits = [
            np.repeat(np.array(model.ended), model.sizes) - queue.arrivals
            for model, queue in zip(self._models, self._queues, strict=True)
            if len(queue.arrivals)
        ]
        together = np.concatenate(waits) if waits else np.empty(0)
        return Ended(
            together,
            sum(len(model.first) for model in self._models),
            self._retrainings,
            self._busy,
            max((model.ended[-1] for model in self._models if model.ended), default=0.0),
            int((together > self._deadline).sum()),
            self._pressed,
            self._claimed,
        )
