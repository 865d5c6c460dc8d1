"""Keys that are remembered: good for so long and no longer, one look-up a key at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from core import keys
from core.errors import Unauthorized
from core.keys import Caller
from service import keyring as keyrings
from service.keyring import Keyring, bearer


class World:
    """A database that knows keys, a clock, and notes of who was looked up and used."""

    def __init__(self) -> None:
        self.good: dict[str, Caller] = {"key_a.x": Caller("key_a", "a", frozenset({"predict"}))}
        self.looked_up: list[str] = []
        self.used: list[str] = []
        self.now = 1000.0
        self.down = False
        self.gate: threading.Event | None = None
        self.ring = Keyring(self, self, fresh=1.0, stale=10.0, clock=lambda: self.now)  # type: ignore[arg-type]

    @contextmanager
    def reading(self) -> Any:
        yield self

    def note(self, key_id: str) -> None:
        self.used.append(key_id)

    def recognise(self, _: Any, text: str) -> Caller:
        self.looked_up.append(text)
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.down:
            raise OperationalError("SELECT", {}, Exception("gone"))
        if text not in self.good:
            raise Unauthorized("not known")
        return self.good[text]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(keys, "recognise", world.recognise)
    return world


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


async def settled(world: World) -> None:
    while world.ring._asked:
        await asyncio.sleep(0.001)


def test_a_key_is_looked_up_once_and_noted_each_time(world: World) -> None:
    async def body() -> None:
        assert world.ring.known("key_a.x") is None
        first = await world.ring.caller("key_a.x")
        assert world.ring.known("key_a.x") is first
        assert await world.ring.caller("key_a.x") is first

    run(body)
    assert world.looked_up == ["key_a.x"]
    assert world.used == ["key_a"] * 3


def test_it_is_looked_up_again_beside_the_call_before_its_time_is_over(world: World) -> None:
    async def body() -> None:
        await world.ring.caller("key_a.x")
        world.now += 0.6
        assert world.ring.known("key_a.x") is not None
        assert world.ring.known("key_a.x") is not None
        await settled(world)
        assert len(world.looked_up) == 2
        world.now += 0.9
        assert world.ring.known("key_a.x") is not None, "counted from the second look-up"
        await settled(world)

    run(body)


def test_a_revocation_is_in_force_when_its_time_is_over(world: World) -> None:
    async def body() -> None:
        await world.ring.caller("key_a.x")
        world.good.clear()
        world.now += 1.0
        assert world.ring.known("key_a.x") is None
        with pytest.raises(Unauthorized):
            await world.ring.caller("key_a.x")

    run(body)


def test_a_look_up_beside_a_call_that_finds_it_revoked_ends_it_at_once(world: World) -> None:
    async def body() -> None:
        await world.ring.caller("key_a.x")
        world.good.clear()
        world.now += 0.5
        assert world.ring.known("key_a.x") is not None
        await settled(world)
        assert world.ring.known("key_a.x") is None

    run(body)


def test_a_key_revoked_here_is_asked_for_at_once(world: World) -> None:
    async def body() -> None:
        await world.ring.caller("key_a.x")
        world.ring.forget("key_b")
        assert world.ring.known("key_a.x") is not None
        world.ring.forget("key_a")
        assert world.ring.known("key_a.x") is None

    run(body)


def test_an_unknown_key_is_never_taken_and_never_remembered(world: World) -> None:
    async def body() -> None:
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await world.ring.caller("key_b.y")
        world.good["key_b.y"] = Caller("key_b", "b", frozenset({"read"}))
        assert (await world.ring.caller("key_b.y")).key_id == "key_b"

    run(body)
    assert len(world.looked_up) == 3


def test_while_the_database_is_away_known_keys_stay_good_as_long_as_the_lease(
    world: World,
) -> None:
    async def body() -> None:
        await world.ring.caller("key_a.x")
        world.down = True
        world.now += 9.9
        assert (await world.ring.caller("key_a.x")).key_id == "key_a"
        with pytest.raises(OperationalError):
            await world.ring.caller("key_b.y")
        world.now += 0.2
        with pytest.raises(OperationalError):
            await world.ring.caller("key_a.x")

    run(body)


def test_of_callers_at_once_one_looks_up_and_one_cut_off_cuts_off_no_other(world: World) -> None:
    world.gate = threading.Event()

    async def body() -> None:
        calls = [asyncio.create_task(world.ring.caller("key_a.x")) for _ in range(5)]
        while not world.looked_up:
            await asyncio.sleep(0.001)
        calls[0].cancel()
        await asyncio.sleep(0)
        assert world.gate is not None
        world.gate.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert [caller.key_id for caller in found[1:]] == ["key_a"] * 4  # type: ignore[union-attr]

    run(body)
    assert world.looked_up == ["key_a.x"]


def test_only_so_many_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "MOST_KEYS", 3)
    for n in range(5):
        world.good[f"key_{n}.x"] = Caller(f"key_{n}", "n", frozenset())

    async def body() -> None:
        for n in range(5):
            await world.ring.caller(f"key_{n}.x")
        assert [world.ring.known(f"key_{n}.x") is not None for n in range(5)] == [
            False,
            False,
            True,
            True,
            True,
        ]

    run(body)


def test_no_text_of_a_key_is_kept(world: World) -> None:
    run(lambda: world.ring.caller("key_a.x"))  # type: ignore[arg-type, return-value]
    assert "key_a.x" not in repr(vars(world.ring))


@pytest.mark.parametrize("header", [b"Bearer key_a.x", b"bearer  key_a.x "])
def test_the_key_in_a_header(header: bytes) -> None:
    assert bearer(header) == "key_a.x"


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer ", b"Basic eA==", b"key_a.x"])
def test_a_header_without_one(header: bytes) -> None:
    with pytest.raises(Unauthorized, match="Authorization: Bearer KEY"):
        bearer(header)
