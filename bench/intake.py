"""How fast erasure requests are taken in: `python -m bench.intake --rate 200`.

POST /erasure-requests in an open loop, each for another person, on a real `lethe serve --role api`
with PostgreSQL (fsync on) and Redis, started for the run; meanwhile their status is read, one read
for each four requests. No worker runs, so that jobs heap up as on a bad day. Latency counts from
when a call was due. The client and the database share the machine's cores with the service, so CPU
milliseconds a request stand beside the latency, with the load before the run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench._intake.load import Answer, Caller, open_loop
from bench._intake.scene import Scene, running

READS = 4  # requests for each read


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.intake",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=1, help="processes of the service")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.rate <= 0 or given.seconds <= 0 or given.workers < 1:
        parser.error("--rate, --seconds and --workers must be positive")
    # Its servers end with it, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = os.getloadavg()[0]
    wanted = max(2, round(given.rate * given.seconds))
    warming = max(2, round(given.rate))
    print(f"importing {wanted + warming} people", file=sys.stderr)
    with running(max(100, wanted + warming), given.workers) as scene:
        result = asyncio.run(_measured(scene, wanted, warming, given.rate))
    result = {"rate": given.rate, "workers": given.workers, **result, "load_before": round(load, 2)}
    print(json.dumps(result) if given.json else _table(result))
    return 0


async def _measured(scene: Scene, wanted: int, warming: int, rate: float) -> dict[str, Any]:
    caller = Caller("127.0.0.1", scene.port, scene.key)
    posts = [_post(number) for number in range(wanted + warming)]
    warm = await open_loop(caller, posts[:warming], rate / 4)
    known = [json.loads(answer.body)["id"] for answer in warm if answer.status == 202]
    assert known, f"nothing was taken in: {warm[0].status} {warm[0].body.decode()}"
    count = max(1, wanted // READS)
    reads = [("GET", f"/erasure-requests/{known[i % len(known)]}", b"") for i in range(count)]
    print(f"posting {wanted} requests at {rate:g}/s", file=sys.stderr)
    gc.collect()
    gc.freeze()  # a search of all that was imported holds this client up for a fifth of a second
    before, began = scene.cpu_seconds(), time.monotonic()
    try:
        posted, read = await asyncio.gather(
            open_loop(caller, posts[warming:], rate), open_loop(caller, reads, rate / READS)
        )
    finally:
        gc.unfreeze()
    seconds, after = time.monotonic() - began, scene.cpu_seconds()
    caller.close()
    calls = len(posted) + len(read)
    return {
        "requests_per_second": round(sum(a.status == 202 for a in posted) / seconds, 1),
        **_latencies(posted, ""),
        "errors": sum(a.status != 202 for a in posted),
        "statuses": dict(sorted(Counter(str(a.status) for a in posted).items())),
        **_latencies(read, "read_"),
        "read_errors": sum(a.status != 200 for a in read),
        "service_cpu_ms": round((after["service"] - before["service"]) * 1000 / calls, 2),
        "database_cpu_ms": round((after["database"] - before["database"]) * 1000 / calls, 2),
    }


def _post(number: int) -> tuple[str, str, bytes]:
    body = {"model": "digits", "subject_id": f"subject-{number}", "external_id": f"t-{number}"}
    return "POST", "/erasure-requests", json.dumps(body).encode()


def _latencies(answers: Sequence[Answer], prefix: str) -> dict[str, float]:
    ms = sorted(answer.ms for answer in answers)
    return {
        f"{prefix}p50_ms": round(statistics.median(ms), 1),
        f"{prefix}p99_ms": round(ms[min(len(ms) - 1, int(0.99 * len(ms)))], 1),
        f"{prefix}max_ms": round(ms[-1], 1),
    }


def _table(result: dict[str, Any]) -> str:
    return "\n".join(f"{name.replace('_', ' '):22}{value!s:>10}" for name, value in result.items())


if __name__ == "__main__":
    sys.exit(main())
