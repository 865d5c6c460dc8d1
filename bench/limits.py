"""What the limits cost: `python -m bench.limits`.

CPU microseconds of the process for each POST /erasure-requests and each status read, with the
default limits and with every limit off: one service on SQLite, called in this process without a
server, one call after the other, in turns of a few (on, off, off, on, ...). The clock does not
count, so that a machine in use does less harm; what differs is told as the median over the rounds
of the difference within a round, with its 95 % interval (that of the sign test). Beside it stands
the limiter alone, as those calls use it, and what it costs to raise one counter in memory while
100,000 are kept, with our storage and with that of the `limits` library, which walks all of them.
Counted in memory; with Redis, a hundredth of a limit at a time costs one round trip.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal
from fastapi.testclient import TestClient
from limits import RateLimitItemPerDay
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import SecretStr

from bench._asgi import Headers, answered
from core import keys, migrate, rates
from core.backend import open_backend
from core.identities import Identities
from core.keys import Caller
from core.settings import Settings
from service.app import create_app
from service.counters import Counters
from service.limiting import Limiter
from tests import factories

SECRET = "a secret of at least sixteen characters"  # of this run's own home
CALLS = 12
"""In a round, of each kind: so few that both see the machine alike."""
KEPT = 100_000
"""Counters: as many as a key's subjects of one day."""
MOST_ROUNDS = 80
"""With these fewer erasure requests than a minute's limit."""
KINDS = ("post", "read")


@dataclass
class Service:
    """An application, how it is called, what it was asked for, and its limiters: on and off."""

    app: Any
    portal: BlockingPortal
    headers: Headers
    limiters: tuple[Limiter, Limiter]
    known: list[str] = field(default_factory=list)
    asked: int = 0

    async def post(self) -> None:
        """Erasure requests of people who have not asked before."""
        for _ in range(CALLS):
            body = {"model": "digits", "subject_id": f"subject-{self.asked}"}
            self.asked += 1
            status, answer = await self._call(
                "POST", "/erasure-requests", json.dumps(body).encode()
            )
            assert status == 202, answer
            self.known.append(json.loads(answer)["id"])

    async def read(self) -> None:
        """The status of those."""
        for request_id in self.known[-CALLS:]:
            status, answer = await self._call("GET", f"/erasure-requests/{request_id}")
            assert status == 200, answer

    def _call(self, method: str, path: str, body: bytes = b"") -> Awaitable[tuple[int, bytes]]:
        return answered(self.app, method, path.encode(), self.headers, body)

    def cpu(self, kind: str, limiter: Limiter) -> float:
        """Microseconds of CPU of this process a call, for `CALLS` of them."""
        self.app.state.limiter = limiter
        before = time.process_time()
        self.portal.call(getattr(self, kind))
        return (time.process_time() - before) / CALLS * 1e6


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.limits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=MOST_ROUNDS, help=f"8 to {MOST_ROUNDS}")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if not 8 <= given.rounds <= MOST_ROUNDS:
        parser.error(f"--rounds must be 8 to {MOST_ROUNDS}: a limit is a thousand a minute")
    with _running(2 * CALLS * (given.rounds + 1)) as service:
        rounds = _measured(service, given.rounds)
    rows = [_row(kind, rounds, _alone(kind)) for kind in KINDS]
    raised = {"ours_us": _raised(Counters()), "library_us": _raised(MemoryStorage())}
    whole = {"rounds": given.rounds, "calls_a_round": CALLS, "rows": rows, "counter": raised}
    print(json.dumps(whole) if given.json else _table(rows, raised))
    return 0


@contextmanager
def _running(subjects: int) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="lethe-limits-") as folder:
        # Looked at rarely: what is measured are calls, not a service that waits.
        settings = Settings(home=Path(folder), secret=SecretStr(SECRET), poll_seconds=60.0)
        backend = open_backend(settings, send=lambda _: None)
        migrate.upgrade(backend.db)
        factories.make_model(backend, factories.make_dataset(backend, subjects=subjects))
        with backend.db.transaction() as tx:
            _, key = keys.create(tx, "bench", ["erase", "read"])
        backend.close()
        app = create_app(settings, "api")
        with TestClient(app) as client:
            assert client.portal is not None
            headers = [
                (b"authorization", f"Bearer {key}".encode()),
                (b"content-type", b"application/json"),
            ]
            off = settings.model_copy(update=dict.fromkeys(rates.SETTINGS, rates.OFF))
            limiters = app.state.limiter, Limiter(off, app.state.backend.identities)
            yield Service(app, client.portal, headers, limiters)


def _measured(service: Service, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """CPU microseconds a call, with limits and without, of each kind in each round."""
    for limiter in service.limiters:  # what the first calls build is none of the limits' doing
        for kind in KINDS:
            service.cpu(kind, limiter)
    found = []
    for number in range(rounds):
        told = {}
        for kind in KINDS:
            spent = [0.0, 0.0]
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                spent[which] = service.cpu(kind, service.limiters[which])
            told[kind] = (spent[0], spent[1])
        found.append(told)
    return found


def _alone(kind: str) -> float:
    """CPU microseconds of the limiter itself for one call: the median of new ones."""
    settings = Settings(secret=SecretStr(SECRET))
    caller = Caller("key_1", "bench", frozenset({"erase"}))
    return statistics.median(asyncio.run(_spent(settings, caller, kind)) for _ in range(9))


async def _spent(settings: Settings, caller: Caller, kind: str) -> float:
    limiter, calls = Limiter(settings, Identities(SECRET.encode())), 900
    before = time.process_time()
    for number in range(calls):
        await limiter.spend("address_rate", "127.0.0.1")
        await limiter.spend("key_rate", caller.key_id)
        if kind == "post":
            await limiter.erasures(caller, [f"subject-{number}"])
    return (time.process_time() - before) / calls * 1e6


def _raised(storage: MemoryStorage) -> int:
    """CPU microseconds for one counter more among `KEPT`, and for what follows in a moment."""
    window = SlidingWindowCounterRateLimiter(storage)
    item = RateLimitItemPerDay(50)
    for number in range(KEPT):
        window.hit(item, f"subject-{number}")
    time.sleep(0.5)
    spent = []
    for number in range(20):
        before = time.process_time()
        window.hit(item, f"another-{number}")
        time.sleep(0.1)  # the library's thread begins after ten milliseconds
        spent.append(time.process_time() - before)
    return round(statistics.median(spent) * 1e6)


def _row(kind: str, rounds: list[dict[str, tuple[float, float]]], alone: float) -> dict[str, Any]:
    on, off = zip(*(each[kind] for each in rounds), strict=True)
    differences = sorted(a - b for a, b in zip(on, off, strict=True))
    # Order statistics: the rank of the lower end, counted from 1.
    rank = math.floor(len(differences) / 2 - 0.98 * math.sqrt(len(differences)))
    first = max(0, rank - 1)
    return {
        "name": kind,
        "on_us": round(statistics.median(on)),
        "off_us": round(statistics.median(off)),
        "difference_us": round(statistics.median(differences)),
        "difference_interval_us": [round(differences[first]), round(differences[-1 - first])],
        "limiter_alone_us": round(alone, 1),
    }


def _table(rows: list[dict[str, Any]], raised: dict[str, int]) -> str:
    lines = [f"{'call':6}{'on, us':>9}{'off, us':>9}{'difference (95 %)':>26}{'alone, us':>11}"]
    for row in rows:
        low, high = row["difference_interval_us"]
        differs = f"{row['difference_us']} ({low} to {high})"
        counted = f"{row['on_us']:9}{row['off_us']:9}{differs:>26}{row['limiter_alone_us']:11}"
        lines.append(f"{row['name']:6}{counted}")
    ours, library = raised["ours_us"], raised["library_us"]
    lines.append(f"a counter among {KEPT:,}: {ours} us; the library's: {library} us")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
