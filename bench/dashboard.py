"""How quick the dashboard is with years of work behind it: `python -m bench.dashboard`.

A real `lethe serve --role api` on PostgreSQL with --requests erasure requests, --jobs jobs (each as
wide as a real one, whose figures they repeat), their versions, certificates and audit events.
Every page is asked for in turn over one connection: milliseconds until all of it has arrived, and
of the service's CPU (to the tick of 10 ms, over --rounds), which a busy machine does not prolong.
Then each page's queries are explained: one that scans a whole table of 2,000 rows or more is named.
Then Chromium opens pages (first contentful paint), and 50 pages follow one running job that changes
twice a second: the service's CPU, as a share of a core, above what it takes when idle.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from bench._dashboard import pages, plans, watching
from bench._dashboard.scene import Client, Scene, running

PAINTED = (
    "overview",
    "requests",
    "request, completed",
    "job, running",
    "model",
    "data set",
    "audit",
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=25, help="times that each page is asked for")
    parser.add_argument("--open-pages", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="that the open pages stay open")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.jobs < 100 or given.requests < given.jobs:
        parser.error("--jobs must be at least 100, and --requests no fewer than --jobs")
    if given.rounds < 1 or given.open_pages < 1 or given.seconds <= 0:
        parser.error("--rounds, --open-pages and --seconds must be positive")
    # Its servers end with it, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = os.getloadavg()[0]
    with running(given.requests, given.jobs) as scene:
        result = _measured(scene, given.rounds, given.open_pages, given.seconds)
    result["load_before"] = round(load, 2)
    print(json.dumps(result) if given.json else _table(result))
    return 1 if result["scans"] else 0


def _measured(scene: Scene, rounds: int, open_pages: int, seconds: float) -> dict[str, Any]:
    client = Client(scene.port)
    client.sign_in(scene.key)
    asked = pages.addresses(scene.plan)
    rows = []
    for name, path in asked.items():
        print(f"asking for {name}", file=sys.stderr)
        status, _, body = client.get(path)
        assert status == 200, f"{path} is answered {status}"
        before = scene.cpu_seconds()
        taken = [client.get(path)[1] for _ in range(rounds)]
        cpu = (scene.cpu_seconds() - before) / rounds
        row = {"page": name, **_latencies(taken), "service_cpu_ms": round(cpu * 1000, 1)}
        rows.append({**row, "kilobytes": round(len(body) / 1000, 1)})
        print(f"  {row['p50_ms']} ms, {row['service_cpu_ms']} of CPU", file=sys.stderr)
    print("explaining queries", file=sys.stderr)
    queries, scanned = plans.scans(scene.settings, scene.key, asked)
    print("painting, and following a job", file=sys.stderr)
    return {
        "rows": rows,
        "database_rows": scene.rows,
        "queries": queries,
        "scans": [{"page": s.page, "table": s.table, "query": s.query} for s in scanned],
        "first_paint": watching.first_paints(scene, client, [asked[name] for name in PAINTED]),
        "open_pages": watching.share_of_a_core(scene, client, open_pages, seconds),
    }


def _latencies(taken: Sequence[float]) -> dict[str, float]:
    ms = sorted(taken)
    return {
        "p50_ms": round(statistics.median(ms), 1),
        "p99_ms": round(ms[min(len(ms) - 1, int(0.99 * len(ms)))], 1),
    }


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'page':28}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'kB':>8}"]
    lines += [
        f"{row['page']:28}{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}"
        f"{row['service_cpu_ms']:>9.1f}{row['kilobytes']:>8.1f}"
        for row in result["rows"]
    ]
    lines.append(f"{result['queries']} queries, {len(result['scans'])} of them scan a large table")
    lines += [
        f"  {s['page']}: {s['table']}: {' '.join(s['query'].split())[:300]}"
        for s in result["scans"]
    ]
    for name in ("database_rows", "first_paint", "open_pages"):
        told = ", ".join(
            f"{key.replace('_', ' ')} {value:,}" for key, value in result[name].items()
        )
        lines.append(f"{name.replace('_', ' ')}: {told}")
    return "\n".join([*lines, f"load before: {result['load_before']}"])


if __name__ == "__main__":
    sys.exit(main())
