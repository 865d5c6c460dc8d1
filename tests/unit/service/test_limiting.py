"""Limits: so many and no more, who counts for whom, blocks, and a Redis that is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from core.errors import TooMany
from core.identities import Identities
from core.keys import Caller
from core.settings import Settings
from service.limiting import BULK, InMemory, InRedis, Limiter, address_of

IDENTITIES = Identities(b"a secret of at least sixteen characters")
CALLER = Caller("key_a", "a", frozenset({"erase"}))


class Counting(InMemory):
    """How often, and for how many places, it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    async def take(self, item: Any, who: str, places: int) -> bool:
        self.taken.append(places)
        return await super().take(item, who, places)


def limiter(**rates: str) -> Limiter:
    made = Limiter(Settings(**rates), IDENTITIES)  # type: ignore[arg-type]
    made._storage = Counting()
    return made


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


async def spent(limits: Limiter, name: str, who: str = "x", most: int = 10_000) -> int:
    """How often it may be done until it may not."""
    for done in range(most):
        try:
            await limits.spend(name, who)
        except TooMany:
            return done
    return most


@pytest.mark.parametrize("amount", [1, 7, 99, 100, 1000])
def test_so_many_and_no_more_each_for_itself(amount: int) -> None:
    async def body() -> None:
        limits = limiter(erasure_rate=f"{amount}/hour")
        assert await spent(limits, "erasure_rate", "x") == amount
        assert await spent(limits, "erasure_rate", "y") == amount
        with pytest.raises(TooMany, match=f"{amount} per 1 hour") as caught:
            await limits.spend("erasure_rate", "x")
        assert 1 <= caught.value.seconds <= 7200

    run(body)


def test_a_crowd_takes_places_by_the_block_and_one_who_calls_rarely_one() -> None:
    async def body() -> None:
        limits = limiter(key_rate="6000/hour")
        await spent(limits, "key_rate", most=3000)
        storage = limits._storage
        assert isinstance(storage, Counting)
        assert storage.taken[:7] == [1, 2, 4, 8, 16, 32, 60], "never more than a hundredth"
        assert len(storage.taken) < 60
        storage.taken.clear()
        for kept in limits._kept.values():
            kept.until = 0.0  # a twelfth of the hour went by
        await limits.spend("key_rate", "x")
        assert storage.taken == [1]

    run(body)


def test_off_is_off() -> None:
    async def body() -> None:
        limits = limiter(key_rate="off", failed_key_rate="Off")
        assert await spent(limits, "key_rate", most=50) == 50
        for _ in range(50):
            await limits.failed("a", None)
        await limits.admit("a")
        assert isinstance(limits._storage, Counting)
        assert limits._storage.taken == []

    run(body)


def test_erasures_count_for_the_key_and_for_the_subject() -> None:
    async def body() -> None:
        limits = limiter(erasure_rate="off", key_quota="10/day", subject_quota="3/day")
        for _ in range(3):
            await limits.erasures(CALLER, ["anna"])
        with pytest.raises(TooMany, match="for this subject"):
            await limits.erasures(CALLER, ["anna"])
        for _ in range(6):
            await limits.erasures(CALLER, [None])
        with pytest.raises(TooMany, match="this key has asked"):
            await limits.erasures(CALLER, ["ben"])
        kept = [who for _, who in limits._kept]
        assert not any("anna" in who for who in kept), "kept as a keyed hash only"

    run(body)


def test_a_bulk_call_counts_less_for_the_rate_and_in_full_for_the_quotas() -> None:
    async def body() -> None:
        limits = limiter(erasure_rate="3/day", key_quota="1000/day", subject_quota="3/day")
        await limits.erasures(CALLER, [f"s{i}" for i in range(BULK + 1)])  # two of three
        with pytest.raises(TooMany, match="for this subject"):
            await limits.erasures(CALLER, ["anna"] * 4)
        with pytest.raises(TooMany, match="more often than"):
            await limits.erasures(CALLER, ["ben"])

    run(body)
    with pytest.raises(TooMany, match="as many erasures as it may"):
        asyncio.run(limiter(key_quota="100/day").erasures(CALLER, [None] * 101))


def test_an_address_that_tries_keys_is_shut_out_and_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body() -> None:
        limits = limiter(failed_key_rate="3/hour")
        for _ in range(3):
            await limits.admit("203.0.113.9")
            await limits.failed("203.0.113.9", "key_a")
        with pytest.raises(TooMany, match="refused that came from this address"):
            await limits.admit("203.0.113.9")
        await limits.admit("203.0.113.10")

    with caplog.at_level(logging.WARNING):
        run(body)
    assert [vars(line)["address"] for line in caplog.records] == ["203.0.113.9"] * 3


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("203.0.113.9", 5), "203.0.113.9"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("::ffff:203.0.113.9", 5), "203.0.113.9"),
        (("testclient", 5), "testclient"),
        (("no:address", 5), "no:address"),
        (None, "unknown"),
    ],
)
def test_whom_a_call_counts_for(client: Any, address: str) -> None:
    assert address_of({"type": "http", "client": client}) == address


def test_processes_share_their_counts_in_redis(redis_url: str) -> None:
    async def body() -> None:
        settings = Settings(broker_url=redis_url, erasure_rate="20/hour")
        both = [Limiter(settings, IDENTITIES), Limiter(settings, IDENTITIES)]
        for n in range(20):
            await both[n % 2].spend("erasure_rate", "x")
        for limits in both:
            with pytest.raises(TooMany) as caught:
                await limits.spend("erasure_rate", "x")
            assert 1 <= caught.value.seconds <= 7200
            await limits.close()

    run(body)


def test_without_redis_each_process_counts_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        limits = Limiter(
            Settings(broker_url="redis://127.0.0.1:9/0", key_rate="5/hour"), IDENTITIES
        )
        assert isinstance(limits._storage, InRedis)
        assert await spent(limits, "key_rate") == 5
        await limits.close()

    with caplog.at_level(logging.WARNING):
        run(body)
    assert len(caplog.records) == 1, "said once, and Redis left alone for a while"
    assert "alone" in caplog.text
