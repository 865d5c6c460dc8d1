"""How fast a step is, and how soon forgetting is done: `python -m bench.unlearn_speed`.

The MNIST MLP, a trigger on 6 % of the training set, 100 erased and 100 remaining samples a step,
both gradients, one CPU thread. All rows descend on the same losses (Eqs. 8 and 9 with beta_u = 1
and limit 0.4, Eq. 14) to the same stop (at most 5 % of the erased samples keep their label):

dataloader_loop   pictures through loaders, two forward and backward passes, numbers read back
autograd          samples in memory, one forward pass, two backward passes through it
ours              the library: one hand-written backward pass gives both gradients
ours_compiled     the same through torch.compile; compile_seconds are CPU seconds, not counted

`calibrated` is the default method to its own stop rule, which asks more. MNIST from LETHE_DATA
when it is there, else generated images of its shape. Repetitions take turns, each in a process
of its own; figures are medians. CPU time stands beside wall time: shared machines stretch both,
so compare within a run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench._unlearn_speed.rows import ROWS, run_calibrated, run_row
from bench._unlearn_speed.scene import make

CALIBRATED = "calibrated"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.unlearn_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="timed in each repetition")
    parser.add_argument("--no-compile", action="store_true", help="leave ours_compiled out")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--scene", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.row:
        one = given.row == CALIBRATED
        found = run_calibrated(given.scene) if one else run_row(given.row, given.scene, given.steps)
        print(json.dumps(found))
        return 0
    torch.set_num_threads(1)
    names = [row for row in ROWS if not (given.no_compile and row == "ours_compiled")]
    with tempfile.TemporaryDirectory() as scratch:
        print("training the model and its teacher", file=sys.stderr)
        data = make(Path(os.environ.get("LETHE_DATA", "data")), Path(scratch))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (*names, CALIBRATED)}
        for repetition in range(given.repetitions):
            for name in runs:
                print(f"{name}, {repetition + 1} of {given.repetitions}", file=sys.stderr)
                runs[name].append(_apart(name, Path(scratch), given.steps))
    rows = [{"name": name, **_median(runs[name])} for name in names]
    result = {"data": data, "rows": rows, CALIBRATED: _median(runs[CALIBRATED])}
    print(json.dumps(result) if given.json else _table(result))
    return 0


def _apart(name: str, scratch: Path, steps: int) -> dict[str, Any]:
    """One repetition, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.unlearn_speed", "--row", name]
    command += ["--scene", str(scratch), "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the repetitions that have it."""
    found: dict[str, Any] = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None]
        found[name] = round(statistics.median(values), 4) if values else None
    return found


def _table(result: dict[str, Any]) -> str:
    lines = [f"data: {result['data']}"]
    titles = ("steps/s", "CPU ms/step", "s to stop", "CPU s", "steps", "peak MB", "compile CPU s")
    keys = (
        "steps_per_second", "cpu_ms_per_step", "seconds_to_stop", "cpu_seconds_to_stop",
        "steps_to_stop", "peak_mb", "compile_seconds",
    )  # fmt: skip
    lines.append(f"{'':18}" + "".join(f"{title:>14}" for title in titles))
    for row in [*result["rows"], {"name": CALIBRATED, **result[CALIBRATED]}]:
        cells = ["" if row.get(key) is None else f"{row[key]:.4g}" for key in keys]
        lines.append(f"{row['name']:18}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
