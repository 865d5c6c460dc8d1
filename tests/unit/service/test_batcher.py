"""The micro-batcher: what waits goes together, nobody waits for company, nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from core.errors import TimedOut, TooBusy
from service.inference.batcher import Batcher, quick
from service.inference.forward import Floats, Outputs

NEVER = 1e18
MOST_ROWS = 64


class Sums:
    """A forward pass that adds up each image, and notes how many came together."""

    most = MOST_ROWS

    def __init__(self, seconds: float = 0.0, gate: threading.Event | None = None) -> None:
        self.seconds, self.gate = seconds, gate
        self.batches: list[tuple[int, int]] = []
        self.threads: set[str] = set()
        self.fails = False

    def __call__(self, images: Floats, samples: int) -> Outputs:
        self.batches.append((len(images), samples))
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.fails:
            raise RuntimeError("out of memory")
        sums = images.reshape(len(images), -1).sum(axis=1)
        return Outputs(sums[:, None], sums, sums if samples else None)


def images(*values: float) -> Floats:
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


def run(body: Callable[[Batcher], Coroutine[Any, Any, None]], most: int = 1000) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Batcher]:
        batcher = Batcher(most)
        try:
            yield batcher
        finally:
            batcher.close()

    async def main() -> None:
        async with asyncio.timeout(30), opened() as batcher:
            await body(batcher)

    asyncio.run(main())


async def until(what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0.001)


def test_calls_of_one_turn_of_the_loop_share_a_pass_in_the_loop_itself() -> None:
    forward = Sums()

    async def body(batcher: Batcher) -> None:
        found = await asyncio.gather(
            *[batcher.answer(forward, images(n, n + 0.5), 0, NEVER) for n in range(5)]
        )
        for n, outputs in enumerate(found):
            assert outputs.uncertainty.tolist() == [n, n + 0.5]
            assert outputs.probabilities.shape == (2, 1)
            assert outputs.information is None
        await batcher.answer(forward, images(9), 0, NEVER)

    run(body)
    assert forward.batches == [(10, 0), (1, 0)]
    assert forward.threads == {"MainThread"}


def test_a_batch_is_of_one_version_and_one_number_of_draws() -> None:
    one, two = Sums(), Sums()

    async def body(batcher: Batcher) -> None:
        asked = [(one, 0), (two, 0), (one, 4), (one, 0), (two, 0), (one, 4)]
        found = await asyncio.gather(
            *[batcher.answer(f, images(n), s, NEVER) for n, (f, s) in enumerate(asked)]
        )
        assert [outputs.uncertainty.tolist() for outputs in found] == [[n] for n in range(6)]
        assert [outputs.information is not None for outputs in found] == [s > 0 for _, s in asked]

    run(body)
    assert one.batches == [(2, 0), (2, 4)]
    assert two.batches == [(2, 0)]


def test_what_waits_while_the_model_computes_is_the_next_batch() -> None:
    forward = Sums(seconds=1.0, gate=threading.Event())
    assert forward.gate is not None

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.answer(forward, images(1), 0, NEVER))
        await until(lambda: forward.batches == [(1, 0)])
        rest = [asyncio.create_task(batcher.answer(forward, images(n), 0, NEVER)) for n in (2, 3)]
        await asyncio.sleep(0.05)
        assert forward.batches == [(1, 0)], "one pass at a time"
        forward.gate.set()  # type: ignore[union-attr]
        found = await asyncio.gather(first, *rest)
        assert [outputs.uncertainty.tolist() for outputs in found] == [[1], [2], [3]]

    run(body)
    assert forward.batches == [(1, 0), (2, 0)]
    assert forward.threads == {"forward_0"}


def test_a_quick_call_waits_for_no_slow_one() -> None:
    slow, fast = Sums(seconds=1.0, gate=threading.Event()), Sums()

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.answer(slow, images(1), 0, NEVER))
        await until(lambda: slow.batches != [])
        assert (await batcher.answer(fast, images(2), 0, NEVER)).uncertainty.tolist() == [2]
        assert not first.done()
        slow.gate.set()  # type: ignore[union-attr]
        await first

    run(body)


def test_no_batch_is_larger_than_was_warmed_up_but_a_call_is_whole() -> None:
    forward = Sums(seconds=1.0)
    many = np.zeros((MOST_ROWS - 1, 1, 1, 1), np.float32)

    async def body(batcher: Batcher) -> None:
        calls = [many, images(1), images(2), np.zeros((3 * MOST_ROWS, 1, 1, 1), np.float32)]
        await asyncio.gather(*[batcher.answer(forward, each, 0, NEVER) for each in calls])

    run(body)
    assert forward.batches == [(MOST_ROWS, 0), (1, 0), (3 * MOST_ROWS, 0)]
    assert not quick(Sums(), 3 * MOST_ROWS)


def test_too_many_are_refused_and_one_too_large_alone_is_not() -> None:
    forward = Sums(seconds=1.0, gate=threading.Event())

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.answer(forward, images(*range(20)), 0, NEVER))
        await until(lambda: forward.batches != [])
        waiting = asyncio.create_task(batcher.answer(forward, images(*range(9)), 0, NEVER))
        await asyncio.sleep(0)
        with pytest.raises(TooBusy, match="9 images wait"):
            await batcher.answer(forward, images(1, 2), 0, NEVER)
        last = asyncio.create_task(batcher.answer(forward, images(1), 0, NEVER))
        await asyncio.sleep(0)
        forward.gate.set()  # type: ignore[union-attr]
        await asyncio.gather(first, waiting, last)
        await batcher.answer(forward, images(*range(20)), 0, NEVER)

    run(body, most=10)


def test_a_caller_is_told_at_its_deadline_whether_it_waits_or_is_computed() -> None:
    forward = Sums(seconds=1.0, gate=threading.Event())

    async def body(batcher: Batcher) -> None:
        now = asyncio.get_running_loop().time()
        calls = [
            asyncio.create_task(batcher.answer(forward, images(n), 0, deadline))
            for n, deadline in enumerate([now + 0.2, now + 0.1, NEVER, now - 1])
        ]
        await until(lambda: forward.batches == [(3, 0)])
        late = asyncio.create_task(batcher.answer(forward, images(7), 0, now + 0.15))
        for call in (calls[0], calls[1], calls[3], late):
            with pytest.raises(TimedOut):
                await call
        assert not calls[2].done()
        forward.gate.set()  # type: ignore[union-attr]
        assert (await calls[2]).uncertainty.tolist() == [2]

    run(body)
    assert forward.batches == [(3, 0)], "nobody waited for the others any more"


def test_a_quick_call_past_its_deadline_costs_nothing() -> None:
    forward = Sums()

    async def body(batcher: Batcher) -> None:
        with pytest.raises(TimedOut):
            await batcher.answer(forward, images(1), 0, asyncio.get_running_loop().time())

    run(body)
    assert forward.batches == []


def test_who_has_gone_costs_nothing() -> None:
    forward = Sums(seconds=1.0, gate=threading.Event())

    async def body(batcher: Batcher) -> None:
        calls = [asyncio.create_task(batcher.answer(forward, images(1), 0, NEVER))]
        await until(lambda: forward.batches != [])
        calls += [asyncio.create_task(batcher.answer(forward, images(n), 0, NEVER)) for n in (2, 3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        calls[1].cancel()
        forward.gate.set()  # type: ignore[union-attr]
        assert (await calls[2]).uncertainty.tolist() == [3]

    run(body)
    assert forward.batches == [(1, 0), (1, 0)]


def test_a_fault_is_told_to_all_of_the_batch_and_to_nobody_else() -> None:
    forward = Sums()

    async def body(batcher: Batcher) -> None:
        forward.fails = True
        calls = [batcher.answer(forward, images(n), 0, NEVER) for n in range(2)]
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, RuntimeError)
        forward.fails = False
        assert (await batcher.answer(forward, images(5), 0, NEVER)).uncertainty.tolist() == [5]

    run(body)
