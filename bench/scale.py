"""Does a job's cost depend on the data set's size? `python -m bench.scale --samples 1e5,1e6`.

Data sets of generated 8 x 8 pictures, ten to a person, each with the same imported model, in an
embedded home of its own. One job erases about 1,000 trained samples of people who lie spread over
the whole data set, another as many of people who lie side by side. A job runs on a copy of the
home, for a job leaves another model than it found, in a process of its own, on one thread, from
claim to certificate; `compaction_seconds` is what it took to rewrite the fragments that held
erased rows and to remove the old ones, and is not in `job_seconds`. `cpu_seconds` is the job's
time on the CPU, compaction not counted: a shared machine stretches the clock. `peak_mb` is the
process's largest resident size. --rounds: so many jobs of each kind, size after size in turns,
since the speed of a shared machine changes; a row tells medians, and the job's seconds each.

--throughput: requests carried out per hour, at batches of 1 to 1,000 requests of one model with
one worker, and with two workers on two models, on a PostgreSQL of its own; each measurement
on a copy of the same data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench._scale.build import build
from bench._scale.figure import draw
from bench._scale.throughput import throughput

ROWS = ("spread", "together")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--samples", default="1e3,1e4,1e5", help="sizes, such as 1e3,1e5")
    parser.add_argument("--erased", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1, help="jobs of each kind and size")
    parser.add_argument("--keep", type=Path, help="folder in which data sets are made, and left")
    parser.add_argument("--build-only", action="store_true", help="make the data sets, run no job")
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--batches", default="1,10,100,1000", help="requests in a job")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="also draw it")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args(arguments)
    if given.throughput and given.keep:
        parser.error("--throughput makes data sets of its own: leave out --keep")
    sizes = [int(float(text)) for text in given.samples.split(",")]
    with tempfile.TemporaryDirectory(prefix="lethe-scale-") as scratch:
        keep = given.keep or Path(scratch)
        if given.throughput:
            batches = [int(text) for text in given.batches.split(",")]
            rows = throughput(batches, given.rounds)
        else:
            for size in sizes:
                build(keep / f"{size}", size)
            rows = [] if given.build_only else _jobs(keep, sizes, given)
    if given.figure and rows:
        draw(rows, given.figure)
    print(json.dumps({"rows": rows}) if given.json else _table(rows))
    return 0


def _jobs(keep: Path, sizes: list[int], given: argparse.Namespace) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for number in range(given.rounds):
        for how, size in itertools.product(ROWS, sizes):
            print(f"round {number + 1}: {size} samples, erased {how}", file=sys.stderr)
            row = _job(keep / f"{size}", min(given.erased, size // 20), how)
            found.setdefault((how, size), []).append(row)
    return [{"samples": size, "erased": how, **_middle(of)} for (how, size), of in found.items()]


def _job(home: Path, erased: int, how: str) -> dict[str, Any]:
    """What one job costs on a copy of this home."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=home.parent) as folder:
        copy = shutil.copytree(home, Path(folder) / "home")
        os.sync()  # the job's own commits must not wait until the copy is on the disk
        command = [sys.executable, "-W", "ignore", "-m", "bench._scale.job"]
        command += [str(copy), str(erased), how]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def _middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and the seconds of each job."""
    middle = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    return middle | {"each_job_seconds": [row["job_seconds"] for row in rows]}


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "nothing was run"
    names = list(rows[0])
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
