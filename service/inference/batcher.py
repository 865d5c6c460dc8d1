"""The micro-batcher: whatever waits when the model is free is the next batch, at once.

Nobody waits for company: a call that comes alone is computed alone. A batch is of one version.
The event loop gathers. A pass that takes less than `AT_ONCE` seconds runs in the loop itself (a
thread's wake-up costs more, and calls read in the same turn of the loop still share it); a longer
one runs in the one thread that computes, while the loop gathers the next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from core.errors import TimedOut, TooBusy
from service.inference.forward import Floats, Forward, Outputs

AT_ONCE = 0.0005
"""Seconds for eight images below which a version is computed in the event loop."""


@dataclass(eq=False, slots=True)
class _Call:
    """One caller's images, float32 [N, C, H, W], and when (by the loop's clock) it gives up."""

    forward: Forward
    images: Floats
    samples: int
    deadline: float
    answer: asyncio.Future[Outputs]


class Batcher:
    """Belongs to one event loop. most_waiting: images that may wait, over all models."""

    def __init__(self, most_waiting: int) -> None:
        self._most = most_waiting
        self._short: deque[_Call] = deque()
        self._long: deque[_Call] = deque()
        self._rows = 0
        self._called = False
        self._computing: list[_Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")

    async def answer(
        self, forward: Forward, images: Floats, samples: int, deadline: float
    ) -> Outputs:
        """The outputs for these images.

        Raises `TooBusy` when too many wait, `TimedOut` at the deadline. A caller that is
        cancelled before its turn costs nothing.
        """
        loop = asyncio.get_running_loop()
        if self._rows and self._rows + len(images) > self._most:
            raise TooBusy(f"{self._rows} images wait to be classified; try again in a second")
        call = _Call(forward, images, samples, deadline, loop.create_future())
        if quick(forward, len(images)):
            self._short.append(call)
        else:
            self._long.append(call)
            self._watch(loop)
        self._rows += len(images)
        if not self._called:
            self._called = True
            loop.call_soon(self._next, loop)
        return await call.answer

    def close(self) -> None:
        """Let the pass that runs end."""
        self._thread.shutdown(wait=True)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._called = False
        while batch := self._batch(self._short, loop.time()):
            _tell(batch, _computed(batch))
        while not self._computing and self._long:
            batch = self._batch(self._long, loop.time())
            if batch:
                self._computing = batch
                done = loop.run_in_executor(self._thread, _computed, batch)
                done.add_done_callback(lambda done: self._done(loop, done))

    def _done(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[_Result]) -> None:
        batch, self._computing = self._computing, []
        _tell(batch, done.result())
        self._next(loop)

    def _batch(self, waiting: deque[_Call], now: float) -> list[_Call]:
        """The first call that is still wanted, and those that can share its pass, in order."""
        batch: list[_Call] = []
        rows = 0
        rest: list[_Call] = []
        while waiting:
            call = waiting.popleft()
            if self._given_up(call, now):
                self._rows -= len(call.images)
                continue
            first = batch[0] if batch else call
            if first.forward is not call.forward or first.samples != call.samples:
                rest.append(call)
            elif batch and rows + len(call.images) > call.forward.most:
                rest.append(call)
                break
            else:
                batch.append(call)
                rows += len(call.images)
        waiting.extendleft(reversed(rest))
        self._rows -= rows
        return batch

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell callers at their deadline, also while their pass runs or nothing else happens."""
        waiting = [call for call in (*self._long, *self._computing) if not call.answer.done()]
        if self._timer is None and waiting:
            soonest = min(call.deadline for call in waiting)
            self._timer = loop.call_at(soonest, self._late, loop)

    def _late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for call in (*self._long, *self._computing):
            self._given_up(call, loop.time())
        self._watch(loop)

    @staticmethod
    def _given_up(call: _Call, now: float) -> bool:
        """Is nobody there any more for this answer? One whose time is over is told so."""
        if not call.answer.done() and now >= call.deadline:
            call.answer.set_exception(TimedOut("the answer was not ready in time; try again"))
        return call.answer.done()


def quick(forward: Forward, rows: int) -> bool:
    """Is a pass over so many images worth no thread?"""
    return forward.seconds < AT_ONCE and rows <= forward.most


_Result = Outputs | Exception


def _computed(batch: list[_Call]) -> _Result:
    images = batch[0].images
    if len(batch) > 1:
        images = np.concatenate([call.images for call in batch])
    try:
        return batch[0].forward(images, batch[0].samples)
    except Exception as error:  # noqa: BLE001  # any: those who wait for this batch must hear it
        return error


def _tell(batch: list[_Call], result: _Result) -> None:
    at = 0
    for call in batch:
        rows = slice(at, at + len(call.images))
        at = rows.stop
        if call.answer.done():
            continue
        if isinstance(result, Exception):
            call.answer.set_exception(result)
        elif len(batch) == 1:
            call.answer.set_result(result)
        else:
            call.answer.set_result(_cut(result, rows))


def _cut(outputs: Outputs, rows: slice) -> Outputs:
    information = outputs.information
    return Outputs(
        outputs.probabilities[rows],
        outputs.uncertainty[rows],
        None if information is None else information[rows],
    )
