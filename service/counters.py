"""Counters in memory, for the `limits` library, that forget what is over for little."""

from __future__ import annotations

import heapq
import time

from limits.storage import MemoryStorage


class Counters(MemoryStorage):
    """The library's storage, for one thread, with another way to drop counters that are over.

    The library's own walks all counters in a new thread, ten milliseconds after any is raised:
    with one for each subject of two days that costs more than the call which is counted. Here a
    heap says which are over, and each is looked at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[tuple[float, str]] = []

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Raise a counter, which ends `expiry` seconds after it began; returns what it is now."""
        now = time.time()
        while self._ends and self._ends[0][0] <= now:
            self.get(heapq.heappop(self._ends)[1])  # drops what is over
        if self.get(key) == 0:
            self.expirations[key] = now + expiry
            heapq.heappush(self._ends, (now + expiry, key))
        self.storage[key] += amount
        return self.storage[key]
