"""Many jobs in a row: does a model that forgets again and again stay what retraining gives?

python -m bench.sequences [--dataset digits|mnist] [--data DIR] [--jobs 50] [--seeds 3]

Each job erases `--samples` ordinary samples from the model that the job before left, by the
default strategy, is verified by the service's protocol, and climbs its ladder when that fails. At
each tenth the model is set beside one retrained exactly on what remains then: accuracies, AUC of
everything erased so far, drift (KL of predictions from retraining's) and all gates on it at once.
The drift budget's word is noted, and with --obey followed. Seconds are CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from bench._paper.data import load
from bench._sequences.run import Plan, Row, Sequence
from bench._sequences.tables import draw, jobs, plain, tenths

SAMPLES = {"digits": 5, "mnist": 30}


def main(arguments: list[str] | None = None) -> int:
    """Print tables, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sequences",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", choices=tuple(SAMPLES), default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--samples", type=int, help="erased by each job")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="of training, the preset's by default")
    parser.add_argument("--obey", action="store_true", help="retrain when the budget asks for it")
    parser.add_argument("--rows", type=Path, help="add each row here as it comes, as JSON")
    parser.add_argument("--from-rows", type=Path, help="run nothing: show the rows kept there")
    parser.add_argument("--figures", type=Path, help="folder for the figure")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    given = parser.parse_args(arguments)
    if min(given.jobs, given.seeds) < 1:
        parser.error("--jobs and --seeds must be 1 or more")
    try:
        rows = _kept(given.from_rows) if given.from_rows else _rows(given)
    except ValueError as error:
        parser.error(str(error))
    tables = {"rows": tenths(rows), "jobs": jobs(rows)}
    if given.figures:
        draw(tables["rows"], given.figures / f"sequences-{given.dataset}.png")
    if given.json:
        print(json.dumps({"dataset": given.dataset, **tables}))
        return 0
    print("\n\n".join(plain(table) for table in tables.values()))
    return 0


def _rows(given: argparse.Namespace) -> list[Row]:
    torch.set_num_threads(1)  # models this small run best on one
    plan = Plan(given.jobs, given.samples or SAMPLES[given.dataset], given.obey, given.epochs)
    rows: list[Row] = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        data = load(given.dataset, given.data, seed)
        if plan.jobs * plan.samples > 0.9 * len(data.pool):
            raise ValueError("--jobs times --samples erases more than nine tenths of the data set")

        def keep(row: Row, seed: int = seed) -> None:
            rows.append({"seed": seed} | row)
            if given.rows:
                with given.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            print(f"seed {seed}: {_said(row)}", file=sys.stderr)

        Sequence(data, seed, plan).run(keep)
    return rows


def _kept(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _said(row: dict[str, Any]) -> str:
    shown = f"{row['test_accuracy']:.4f}"
    if row["row"] == "job":
        asked = f", {row['asked']} asks for a retraining" if row["asked"] else ""
        return f"job {row['job']} {row['verdict']} {shown}{asked}"
    return f"after {row['job']} {row['model']} {shown}"


if __name__ == "__main__":
    raise SystemExit(main())
