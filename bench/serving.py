"""How fast predictions are served: `python -m bench.serving --setup`, then without it.

Lethe (`lethe serve --role inference`, with its key checked and its metrics counted) beside
LitServe, BentoML, MLServer and `bare`, a FastAPI handler that calls the model and does nothing
else. All serve the same small MLP with the same PyTorch, one 28 x 28 image a call as JSON, to a
closed loop of clients. Each round starts each server anew; contenders take turns within a round.
Every figure is the median over the rounds, in brackets their least and greatest.
`cpu_us_per_request` counts every process of the server. The load is one more process on the same
cores: its own cost is printed beside. `others` is how many cores whatever else runs on the machine
used meanwhile; while that is more than --calm, a measurement is taken again, and the calmest kept.
Last comes the forward pass alone, in a loop, for scale.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench._serving import load, scene
from bench._serving.contenders import NAMES, VARIANTS, Contender, is_set_up, lethe, others, set_up
from bench._serving.peers.model import Digits
from bench._serving.processes import Server, machine_cpu_seconds

DIGITS = {"requests_per_second": 0, "p50_ms": 2, "p99_ms": 2, "cpu_us_per_request": 0,
          "client_cpu_us": 0, "memory_mb": 0, "others": 2}  # fmt: skip
TRIES = 3
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    given = _given(arguments)
    if given.setup:
        set_up(tuple(given.names))
        return 0
    missing = [name for name in given.names if not is_set_up(name)]
    if missing:
        names = " ".join(missing)
        print(f"not installed: {names}; run `python -m bench.serving --setup`", file=sys.stderr)
        return 1
    # Its servers end with it, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    torch.set_num_threads(1)
    started = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="lethe-serving-") as folder:
        result = _measured(given, Path(folder))
    result["load_before"] = round(started, 2)
    print(json.dumps(result) if given.json else _table(result))
    return 0


def _given(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--setup", action="store_true", help="install the others, and end")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calm", type=float, default=0.2, help="cores that others may use")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--tune", action="store_true", help="measure every way of setting each of them up"
    )
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.seconds <= 0 or given.rounds < 1 or min(given.concurrency) < 1:
        parser.error("--seconds, --rounds and --concurrency must be positive")
    return given


def _measured(given: argparse.Namespace, folder: Path) -> Row:
    vib, image = scene.vib(), scene.digit()
    weights = folder / "weights.pt"
    scene.export(vib, weights)
    wanted = vib.predict(torch.from_numpy(image[None]).float()).probabilities_BC[0].numpy()
    seen: dict[tuple[str, str, int], list[Row]] = {}
    with scene.home(folder, vib) as home:
        known = {each.name: each for each in [lethe(home, image), *others(weights, image)]}
        for turn in range(given.rounds):
            for name in given.names:
                tried = list(VARIANTS[name].items())
                for variant, settings in tried if given.tune else tried[:1]:
                    print(f"round {turn + 1}: {name}, {variant}", file=sys.stderr)
                    place = Path(tempfile.mkdtemp(dir=folder))
                    with known[name].running(place, settings) as server:
                        for count in given.concurrency:
                            row = _calmest(given, known[name], server, count, wanted)
                            seen.setdefault((name, variant, count), []).append(row)
                            shown = {k: round(v, DIGITS[k]) for k, v in row.items()}
                            print(f"  {count} at once: {shown}", file=sys.stderr)
        sizes = {name: len(each.body) for name, each in known.items()}
    rows = [
        {"name": name, "variant": variant, "concurrency": count, "rounds": len(found)}
        | _summary(found)
        for (name, variant, count), found in seen.items()
    ]
    return {
        "rows": rows,
        "forward_per_second": round(_forward(weights, image)),
        "body_bytes": {name: sizes[name] for name in given.names},
        "seconds": given.seconds,
    }


def _calmest(
    given: argparse.Namespace,
    contender: Contender,
    server: Server,
    concurrency: int,
    wanted: np.ndarray,
) -> Row:
    rows: list[Row] = []
    while len(rows) < TRIES and all(row["others"] > given.calm for row in rows):
        rows.append(_one(contender, server, concurrency, given.seconds, wanted))
    return min(rows, key=lambda row: row["others"])


def _one(
    contender: Contender, server: Server, concurrency: int, seconds: float, wanted: np.ndarray
) -> Row:
    """One load on a server that runs; half a second of it first, unmeasured, to warm it up."""
    with load.load(server.port, contender.call(), concurrency) as running:
        time.sleep(0.5 + min(1.0, seconds / 5))
        cpu, busy, began = server.cpu_seconds(), machine_cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        ended, busy = time.monotonic(), machine_cpu_seconds() - busy
        cpu = server.cpu_seconds() - cpu
        answers = running.stop()
    for body in {answers.bodies[index] for index in answers.body}:
        found = contender.probabilities(json.loads(body))
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=f"{contender.name} is wrong")
    if set(answers.status) != {200}:
        raise RuntimeError(f"{contender.name} answered {sorted(set(answers.status))}, not only 200")
    ms = sorted(
        (got - sent) * 1000
        for sent, got in zip(answers.sent, answers.got, strict=True)
        if began <= got < ended
    )
    client = answers.cpu_seconds / len(answers)
    return {
        "requests_per_second": len(ms) / (ended - began),
        "p50_ms": statistics.median(ms),
        "p99_ms": ms[min(len(ms) - 1, int(0.99 * len(ms)))],
        "cpu_us_per_request": cpu / len(ms) * 1e6,
        "client_cpu_us": client * 1e6,
        "memory_mb": server.memory_mb(),
        "others": max(0.0, busy - cpu - client * len(ms)) / (ended - began),
    }


def _summary(found: list[Row]) -> Row:
    """The median over rounds, and the least and the greatest."""
    summary: Row = {}
    for figure, digits in DIGITS.items():
        values = [row[figure] for row in found]
        summary[figure] = round(statistics.median(values), digits)
        summary[f"{figure}_spread"] = [round(min(values), digits), round(max(values), digits)]
    return summary


def _forward(weights: Path, image: np.ndarray, seconds: float = 1.0) -> float:
    """Forward passes of one image a second, one after the other: the median of five."""
    model, x = Digits(str(weights)), torch.from_numpy(image[None]).float()
    rates = []
    for _ in range(5):
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds / 5:
            for _ in range(100):
                model(x)
            count += 100
        rates.append(count / (time.perf_counter() - began))
    return statistics.median(rates)


def _table(result: Row) -> str:
    lines = [
        f"{'':34}{'c':>4}{'requests/s':>24}{'p50 ms':>9}{'p99 ms':>23}{'CPU us':>21}"
        f"{'load us':>9}{'others':>8}"
    ]
    for row in sorted(result["rows"], key=lambda row: row["concurrency"]):
        name = f"{row['name']} ({row['variant']})"
        lines.append(
            f"{name:34.34}{row['concurrency']:>4}{_spread(row, 'requests_per_second', 0):>24}"
            f"{row['p50_ms']:>9.2f}{_spread(row, 'p99_ms', 2):>23}"
            f"{_spread(row, 'cpu_us_per_request', 0):>21}{row['client_cpu_us']:>9.0f}"
            f"{row['others']:>8.2f}"
        )
    lines.append(f"the forward pass alone: {result['forward_per_second']} a second")
    return "\n".join(lines)


def _spread(row: Row, figure: str, digits: int) -> str:
    least, most = row[f"{figure}_spread"]
    return f"{row[figure]:.{digits}f} [{least:.{digits}f}-{most:.{digits}f}]"


if __name__ == "__main__":
    sys.exit(main())
