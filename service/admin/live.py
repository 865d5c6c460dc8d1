"""Parts of a job's page as server-sent events: drawn once a change, for however many pages.

Waiting costs a page nothing but its connection: the process's one poller (service.watcher) tells
of a change, the first page that hears of it has the parts drawn, all others send the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from core.errors import Unauthorized
from service.watcher import Watcher

KEEP_ALIVE_SECONDS = 15.0
PAUSE_SECONDS = 0.4
"""Between two events of one page at least: two a second are smooth enough."""
MOST_KEPT = 64
"""Drawings kept: of so many jobs at once."""


@dataclass(frozen=True)
class Drawing:
    """The parts of a page by the id of their element, at one revision of its job."""

    revision: int
    over: bool
    parts: Mapping[str, str]

    def since(self, shown: Mapping[str, str]) -> str:
        """The parts that differ from those shown, as the data of an event; "" where none does."""
        fresh = [part for name, part in self.parts.items() if shown.get(name) != part]
        return "\n".join(line for part in fresh for line in part.splitlines() if line.strip())


Draw = Callable[[], Awaitable[Drawing]]


@dataclass
class Easel:
    """The latest drawing of each page that somebody follows; belongs to one event loop."""

    _latest: dict[tuple[str, bool], Drawing] = field(default_factory=dict)
    _under_way: dict[tuple[str, bool], asyncio.Task[Drawing]] = field(default_factory=dict)

    async def newer(self, key: tuple[str, bool], known: int, draw: Draw) -> Drawing:
        """A drawing of another revision than `known`: the latest, or one that is made now.

        Those who ask while it is made wait for the same.
        """
        latest = self._latest.get(key)
        if latest is not None and latest.revision > known:
            return latest
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._make(key, draw))
            self._under_way[key] = task
        return await asyncio.shield(task)

    async def _make(self, key: tuple[str, bool], draw: Draw) -> Drawing:
        try:
            drawing = await draw()
            self._latest.pop(key, None)
            self._latest[key] = drawing
            while len(self._latest) > MOST_KEPT:
                del self._latest[next(iter(self._latest))]
            return drawing
        finally:
            del self._under_way[key]


async def events(
    easel: Easel,
    watcher: Watcher,
    key: tuple[str, bool],
    draw: Draw,
    allowed: Callable[[], Awaitable[object]],
    seen: int | None = None,
) -> AsyncIterator[str]:
    """The event stream of one page: the parts of it that change, until the job is over.

    seen: the revision that the page shows already. It is not sent again: what somebody types there
    would be lost. A page that shows another gets every part first. `allowed` raises
    `Unauthorized` once the session's key is good no more: the stream ends.
    """
    shown: Mapping[str, str] = {}
    revision, sent = -1, 0.0
    while True:
        drawing = await easel.newer(key, revision, draw)
        data = "" if drawing.revision == seen else drawing.since(shown)
        if data:
            yield "event: parts\n" + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n"
            sent = time.monotonic()
        shown, revision = drawing.parts, drawing.revision
        if drawing.over:
            yield "event: over\ndata: over\n\n"
            return
        if not await watcher.wait(key[0], revision, KEEP_ALIVE_SECONDS):
            yield ": still here\n\n"
        if watcher.closing:
            return
        await asyncio.sleep(max(0.0, sent + PAUSE_SECONDS - time.monotonic()))
        try:
            await allowed()
        except Unauthorized:
            return
