"""API keys that were recognised a moment ago: a call need not ask the database each time.

A key is looked up again before `fresh` seconds have passed, so that a revocation, an expiry or a
lost scope is in force by then. While the database does not answer, a key that it knew stays good
for `stale` seconds: for as long as this process may serve at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import keys
from core.db import Database
from core.errors import Unauthorized
from core.keys import Caller
from service.keyuse import KeyUse
from service.limiting import Limiter

MOST_KEYS = 4096
"""Keys remembered; the ones that came first are forgotten first."""

LookUp = Callable[[Session], Caller]


@dataclass(slots=True)
class _Known:
    caller: Caller
    at: float


class Keyring:
    """Belongs to one event loop; keeps digests of keys' texts, never a text."""

    def __init__(
        self,
        db: Database,
        use: KeyUse,
        *,
        fresh: float,
        stale: float,
        limiter: Limiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._use = db, use
        self._fresh, self._stale = fresh, max(fresh, stale)
        self._limiter, self._clock = limiter, clock
        self._known: dict[bytes, _Known] = {}
        self._asked: dict[bytes, asyncio.Task[Caller]] = {}

    def known(self, text: str) -> Caller | None:
        """The caller, if the key was looked up so lately that nobody need ask again.

        From half of that time on it is looked up beside the call, so that few calls ever wait.
        """
        return self._fresh_one(_digest(text), partial(keys.recognise, text=text))

    def _fresh_one(self, digest: bytes, look_up: LookUp) -> Caller | None:
        found = self._known.get(digest)
        if found is None:
            return None
        age = self._clock() - found.at
        if age >= self._fresh:
            return None
        if age >= self._fresh / 2 and digest not in self._asked:
            self._ask(digest, look_up)
        self._use.note(found.caller.key_id)
        return found.caller

    async def caller(self, text: str, address: str = "") -> Caller:
        """The caller that this key text stands for; raises `Unauthorized`.

        While the database does not answer, its error, unless the key is known and not `stale`.
        From an `address` that tried too many keys that are not good, one that was never good
        here is not looked up any more: `TooMany`.
        """
        digest = _digest(text)
        if self._limiter is not None and digest not in self._known:
            await self._limiter.admit(address)
        try:
            return await self._one(digest, partial(keys.recognise, text=text))
        except Unauthorized as error:
            if self._limiter is not None:
                await self._limiter.failed(address, error.key_id)
            raise

    async def holder(self, key_id: str, began: datetime) -> Caller:
        """The caller of a session that was begun with this key then; errors as of `caller`."""
        look_up = partial(keys.holder, key_id=key_id, began=began)
        return await self._one(_digest(f"session of {key_id} {began.timestamp()}"), look_up)

    async def _one(self, digest: bytes, look_up: LookUp) -> Caller:
        found = self._fresh_one(digest, look_up)
        if found is not None:
            return found
        asked = self._asked.get(digest) or self._ask(digest, look_up)
        # One that is cut off must not cut off the others who wait for the same key.
        caller = await asyncio.shield(asked)
        self._use.note(caller.key_id)
        return caller

    def _ask(self, digest: bytes, look_up: LookUp) -> asyncio.Task[Caller]:
        asked = asyncio.create_task(self._looked_up(digest, look_up))
        self._asked[digest] = asked
        asked.add_done_callback(lambda done: self._answered(digest, done))
        return asked

    def _answered(self, digest: bytes, done: asyncio.Task[Caller]) -> None:
        del self._asked[digest]
        if not done.cancelled():
            done.exception()  # whoever waits hears it; a look-up beside a call has nobody

    async def _looked_up(self, digest: bytes, look_up: LookUp) -> Caller:
        began = self._clock()
        try:
            caller = await asyncio.to_thread(self._recognised, look_up)
        except Unauthorized:
            self._known.pop(digest, None)
            raise
        except SQLAlchemyError:
            found = self._known.get(digest)
            if found is None or self._clock() - found.at >= self._stale:
                raise
            return found.caller
        self._known.pop(digest, None)
        self._known[digest] = _Known(caller, began)
        while len(self._known) > MOST_KEYS:
            del self._known[next(iter(self._known))]
        return caller

    def _recognised(self, look_up: LookUp) -> Caller:
        with self._db.reading() as session:
            return look_up(session)

    def forget(self, key_id: str) -> None:
        """This key was revoked here: ask before it is taken again. Any thread may call this."""
        for digest, found in list(self._known.items()):
            if found.caller.key_id == key_id:
                self._known.pop(digest, None)


def bearer(authorization: bytes) -> str:
    """The key's text in an Authorization header (b"" where there is none); or `Unauthorized`."""
    scheme, _, text = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not text.strip():
        raise no_key()
    return text.strip().decode("latin-1")


def no_key() -> Unauthorized:
    """What a call without a key is told."""
    return Unauthorized("send an API key: `Authorization: Bearer KEY`")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
