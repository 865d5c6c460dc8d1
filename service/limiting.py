"""How often each key and each address may call, counted in memory or, for many processes, in Redis.

A process takes places by the block and hands them out itself, so that the calls of a crowd cost a
look at a table and not a round trip each. A block is twice the one before while those are used up
quickly, and one place for who calls rarely or is near the limit. While Redis does not answer,
each process counts for itself: a limit is no reason for an outage.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from limits import RateLimitItem
from limits.aio import storage as shared
from limits.aio import strategies as of_many
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from starlette.types import Scope

from core import rates
from core.errors import TooMany
from core.identities import Identities
from core.keys import Caller
from core.settings import Settings
from service.counters import Counters

log = logging.getLogger(__name__)

T = TypeVar("T")

BLOCKS = 100
"""A process takes a hundredth of a limit at a time, at most."""

KEPT = 12
"""Places that were not handed out within a twelfth of the limit's window are given up."""

ALONE_SECONDS = 5.0
"""So long a Redis that did not answer is left alone."""

MOST_KEPT = 10_000
"""Callers for whom a process has places at hand; the ones that came first are forgotten."""

PATIENCE_SECONDS = 0.25
"""Longer no call waits for Redis."""

BULK = 100
"""As many erasure requests of one bulk call count as one: they share transactions and jobs."""


class Storage(Protocol):
    """Where places are counted."""

    async def take(self, item: RateLimitItem, who: str, places: int) -> bool:
        """Take so many, all or none."""
        ...

    async def left(self, item: RateLimitItem, who: str) -> tuple[int, float]:
        """How many are left, and when (seconds since the epoch) there will be more."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class InMemory:
    """For one process."""

    def __init__(self) -> None:
        self._window = SlidingWindowCounterRateLimiter(Counters())

    async def take(self, item: RateLimitItem, who: str, places: int) -> bool:
        """Take so many, all or none."""
        return self._window.hit(item, who, cost=places)

    async def left(self, item: RateLimitItem, who: str) -> tuple[int, float]:
        """How many are left, and when there will be more."""
        stats = self._window.get_window_stats(item, who)
        return stats.remaining, stats.reset_time

    async def close(self) -> None:
        """There is nothing to give back."""


class InRedis:
    """For every process that has the same broker; in memory while that does not answer."""

    def __init__(self, url: str) -> None:
        self._pool = ConnectionPool.from_url(
            url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
        )
        self._window = of_many.SlidingWindowCounterRateLimiter(
            shared.RedisStorage(
                f"async+{url}",
                implementation="redispy",
                key_prefix="lethe-limits",
                connection_pool=self._pool,  # type: ignore[arg-type]  # passed through to redis
            )
        )
        self._alone = InMemory()
        self._until = 0.0

    async def take(self, item: RateLimitItem, who: str, places: int) -> bool:
        """Take so many, all or none."""
        return await self._asked(
            lambda: self._window.hit(item, who, cost=places),
            lambda: self._alone.take(item, who, places),
        )

    async def left(self, item: RateLimitItem, who: str) -> tuple[int, float]:
        """How many are left, and when there will be more."""

        async def ask() -> tuple[int, float]:
            stats = await self._window.get_window_stats(item, who)
            return stats.remaining, stats.reset_time

        return await self._asked(ask, lambda: self._alone.left(item, who))

    async def close(self) -> None:
        """Give connections back."""
        await self._pool.aclose()

    async def _asked(
        self, ask: Callable[[], Awaitable[T]], instead: Callable[[], Awaitable[T]]
    ) -> T:
        if time.monotonic() >= self._until:
            try:
                return await ask()
            except Exception as error:  # noqa: BLE001  # any broker fault
                self._until = time.monotonic() + ALONE_SECONDS
                log.warning("limits are counted by each process alone: %s", type(error).__name__)
        return await instead()


@dataclass(slots=True)
class _Places:
    """Of a block of `size`: those left, good `until` then."""

    left: int
    until: float
    size: int


class Limiter:
    """The limits of one process, which belongs to one event loop. A limit that is off is None."""

    def __init__(self, settings: Settings, identities: Identities) -> None:
        self._rates = {name: rates.rate(name, getattr(settings, name)) for name in rates.SETTINGS}
        url = settings.broker_url or ""
        redis = url.startswith(("redis://", "rediss://", "unix://"))
        self._storage: Storage = InRedis(url) if redis else InMemory()
        self._identities = identities
        self._kept: dict[tuple[str, str], _Places] = {}

    async def close(self) -> None:
        """Give connections back."""
        await self._storage.close()

    async def spend(self, name: str, who: str, places: int = 1) -> None:
        """Take places under the limit `name`; raises `TooMany`, which says when to come again."""
        item = self._rates[name]
        if item is None:
            return
        kept = self._kept.get((name, who))
        now = time.monotonic()
        grown = 1
        if kept is not None and now < kept.until:
            if kept.left >= places:
                kept.left -= places
                return
            grown = min(2 * kept.size, item.amount // BLOCKS)
        key, size = f"{name}:{who}", max(places, grown)
        if await self._storage.take(item, key, size):
            until = now + item.get_expiry() / KEPT
            self._keep((name, who), _Places(size - places, until, size))
        elif size == places or not await self._storage.take(item, key, places):
            raise await self._refusal(name, item, key)

    async def admit(self, address: str) -> None:
        """Raise `TooMany` for an address from which too many keys were tried that are not good."""
        name = "failed_key_rate"
        item = self._rates[name]
        if item is None:
            return
        left, _ = await self._storage.left(item, f"{name}:{address}")
        if left < 1:
            raise await self._refusal(name, item, f"{name}:{address}")

    async def failed(self, address: str, key_id: str | None) -> None:
        """A key that is not good was tried. key_id: of the real key that it claims to be."""
        log.warning("an API key was refused", extra={"address": address, "key": key_id})
        name = "failed_key_rate"
        item = self._rates[name]
        if item is not None:
            await self._storage.take(item, f"{name}:{address}", 1)

    async def erasures(self, caller: Caller, subjects: Iterable[str | None]) -> None:
        """Count these erasure requests of one call, by key and by subject; raises `TooMany`.

        A subject counts by its keyed hash; in a bulk call only one that is named repeatedly.
        """
        counted = Counter(subjects)
        total = counted.total()
        await self.spend("erasure_rate", caller.key_id, max(1, math.ceil(total / BULK)))
        await self.spend("key_quota", caller.key_id, total)
        for subject, count in counted.items():
            if subject is not None and (total == 1 or count > 1):
                who = self._identities.body(f"quota\0{subject}".encode())
                await self.spend("subject_quota", who, count)

    def _keep(self, who: tuple[str, str], places: _Places) -> None:
        self._kept.pop(who, None)
        self._kept[who] = places
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    async def _refusal(self, name: str, item: RateLimitItem, key: str) -> TooMany:
        _, reset = await self._storage.left(item, key)
        seconds = max(1, math.ceil(reset - time.time()))
        return TooMany(_REFUSALS[name].format(item), seconds)


_REFUSALS = {
    "address_rate": "this address calls more often than {}; come again later",
    "key_rate": "this key calls more often than {}; come again later",
    "erasure_rate": "this key asks for erasures more often than {}; come again later",
    "failed_key_rate": "too many keys were refused that came from this address ({}); "
    "come again later",
    "key_quota": "this key has asked for as many erasures as it may ({}); come again later",
    "subject_quota": "as many requests as may be were made for this subject ({})",
}


def address_of(scope: Scope) -> str:
    """Whom the call counts for: the client's IPv4 address, or its IPv6 network of 64 bits."""
    client = scope.get("client")
    host = client[0] if client else "unknown"
    if ":" not in host:
        return str(host)
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
