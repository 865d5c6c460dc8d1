"""One poller a process tells every long-poll and event stream that its job has changed.

Those who wait hold no thread and no database connection; the poller holds one connection
for one short query, and only while somebody waits.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from core import jobs
from core.db import Database

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Waiter:
    job_id: str
    since: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    told: bool = False

    def tell(self) -> None:
        self.told = True
        self.over.set()


class Watcher:
    """Polls the revisions of the jobs that someone waits for, every `seconds`."""

    def __init__(self, db: Database, seconds: float) -> None:
        self._db = db
        self._seconds = seconds
        self._waiters: set[_Waiter] = set()
        self._someone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closing = False
        """The process is about to stop: nobody should begin to wait."""

    def start(self) -> None:
        """Begin; called in the event loop."""
        self._task = asyncio.create_task(self._run(), name="job watcher")

    def release(self) -> None:
        """End every wait now, and every later one at once. The event loop's thread only."""
        self.closing = True
        for waiter in self._waiters:
            waiter.tell()

    async def stop(self) -> None:
        """Release everyone and end the poller."""
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self, job_id: str, since: int, seconds: float) -> bool:
        """Wait until the job's revision is no longer `since`; False when time runs out.

        Returns early, as if it had changed, when the process stops.
        """
        if self.closing:
            return True
        waiter = _Waiter(job_id, since)
        self._waiters.add(waiter)
        self._someone.set()
        timer = asyncio.get_running_loop().call_later(seconds, waiter.over.set)
        try:
            await waiter.over.wait()
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        return waiter.told

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiters)

    async def _run(self) -> None:
        while True:
            if not self._waiters:
                self._someone.clear()
                await self._someone.wait()
            wanted = {waiter.job_id for waiter in self._waiters}
            try:
                revisions = await asyncio.to_thread(self._revisions, wanted)
            except Exception as error:  # noqa: BLE001  # any: who waits must not wait for ever
                log.warning("could not look for changed jobs, trying again: %s", error)
            else:
                for waiter in self._waiters:
                    if waiter.job_id in wanted and revisions.get(waiter.job_id) != waiter.since:
                        waiter.tell()
            await asyncio.sleep(self._seconds)

    def _revisions(self, job_ids: set[str]) -> dict[str, int]:
        with self._db.reading() as session:
            return jobs.revisions(session, job_ids)
