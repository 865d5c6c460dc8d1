"""Does anybody notice a new version? `python -m bench.swap --workers 1 4 --swaps 30`.

Eight clients call POST /predict at full speed, in two processes, while versions are published one
after another, as jobs publish them, into a running `lethe serve --role inference`. Each version
answers otherwise. `errors`: calls that broke off, were refused or not answered with 200. `mixed`:
answers that are not what the version they name gives. `backward`: calls sent after an answer by
version v was whole, and answered by an older one (one clock for all clients). `p99_ms` is that of
calls that touch a swap, from before its file is written until every process serves it;
`p99_quiet_ms` that of the calls in the pauses between, as long as the swaps are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from bench._serving import contenders, load, scene
from bench._swap import judge, versions

CLIENTS, PROCESSES = 8, 2
WARM_UP = 2.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.swap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.swaps < 1 or min(given.workers) < 1:
        parser.error("--workers and --swaps must be positive")
    # Its servers end with it, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    torch.set_num_threads(1)
    result: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
    result["rows"] = [_row(workers, given.swaps) for workers in given.workers]
    print(json.dumps(result) if given.json else _table(result["rows"]))
    return int(any(row["errors"] or row["mixed"] or row["backward"] for row in result["rows"]))


def _row(workers: int, count: int) -> dict[str, Any]:
    print(f"{count} swaps under load, {workers} workers", file=sys.stderr)
    image, first = scene.digit(), versions.variant(1)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="lethe-swap-")))
        home = opened.enter_context(scene.home(folder, first))
        lethe = contenders.lethe(home, image)
        server = opened.enter_context(lethe.running(folder, {"BENCH_WORKERS": str(workers)}))
        known = {1: versions.expected(home.serving(), first, image)}
        loads = [
            opened.enter_context(load.load(server.port, lethe.call(), CLIENTS // PROCESSES))
            for _ in range(PROCESSES)
        ]
        time.sleep(WARM_UP)
        began, swaps = time.monotonic(), []
        for number in range(2, count + 2):
            vib = versions.variant(number)
            version, swap = versions.swap(home, vib, workers)
            known[version.number] = versions.expected(version, vib, image)
            swaps.append(swap)
            time.sleep(swap.ended - swap.began)
        ended = time.monotonic()
        seen = [each.stop() for each in loads]
    judged = judge.judge(seen, known)
    steady = [answer for answer in judged.right if began <= answer.sent < ended]
    during, quiet = judge.latencies(steady, swaps)
    return {
        "workers": workers,
        "swaps": len({answer.version for answer in judged.right}) - 1,
        "requests": sum(map(len, seen)),
        "errors": judged.errors,
        "mixed": judged.mixed,
        "backward": judge.backward(judged.right),
        "p99_ms": round(_p99(during), 2),
        "p99_quiet_ms": round(_p99(quiet), 2),
        "requests_per_second": round(len(steady) / (ended - began)),
        "swap_ms": round(statistics.median(swap.seconds for swap in swaps) * 1000),
    }


def _p99(ms: list[float]) -> float:
    return ms[min(len(ms) - 1, int(0.99 * len(ms)))]


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = ["  ".join(names)]
    lines += ["  ".join(f"{row[name]:>{len(name)}}" for name in names) for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
