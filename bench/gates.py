"""How often the gates err, and what they would find.

python -m bench.gates [errors|must-fail|power] [--dataset digits|mnist] [--data DIR] [--seeds 20]
python -m bench.gates --time [--data DIR]

errors: verdicts on models retrained without what was erased, which must not fail. must-fail:
verdicts on models that remember, or that only look as if they had forgotten. power: the least
difference that each gate fails with 80 % power, by its own function and by simulation. --time:
the whole protocol on 3,600 erased of 60,000 MNIST samples.

Each seed splits the data anew and trains its models. One retrained model, made without the
largest request, serves every smaller one: it has seen none.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from bench._gates.power import detectable, draw, growth
from bench._gates.tables import by_gate, by_request, plain
from bench._gates.timing import timed
from bench._gates.verdicts import Plan, errors, must_fail, over_seeds

VERDICTS = {"errors": errors, "must-fail": must_fail}


def main(arguments: list[str] | None = None) -> int:
    """Print tables, or one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", choices=(*VERDICTS, "power"), default="errors")
    parser.add_argument("--time", action="store_true", help="time the protocol instead")
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1, help="of each size in every seed")
    parser.add_argument("--epochs", type=int, help="of training, the preset's by default")
    parser.add_argument("--held", type=int, default=3000, help="held-out samples (power)")
    parser.add_argument("--simulations", type=int, default=100, help="of each (power)")
    parser.add_argument("--figures", type=Path, help="folder for the figure (power)")
    parser.add_argument("--cache", type=Path, help="keep trained models here, for the next run")
    parser.add_argument("--log", type=Path, help="write each seed here, and go on from it")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    given = parser.parse_args(arguments)
    if min(given.seeds, given.requests, given.simulations) < 1:
        parser.error("--seeds, --requests and --simulations must be 1 or more")
    try:
        tables = _tables(given)
    except ValueError as error:
        parser.error(str(error))
    if given.json:
        print(json.dumps({"dataset": given.dataset, "seeds": given.seeds} | tables))
        return 0
    for rows in tables.values():
        print(plain(rows) + "\n")
    return 0


def _tables(given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    if given.time:
        return {"rows": timed(given.data)}
    torch.set_num_threads(1)  # models this small run best on one
    if given.table == "power":
        found = growth(given.held, 10 * given.simulations)
        if given.figures:
            draw(found, given.figures / "gates-power.png")
        return {"rows": detectable(given.held, given.simulations), "growth": found}
    plan = Plan(
        given.dataset,
        given.data,
        given.seeds,
        given.requests,
        given.epochs,
        given.cache,
        given.log,
    )
    rows = over_seeds(plan, VERDICTS[given.table])
    return {"rows": by_request(rows), "gates": by_gate(rows)}


if __name__ == "__main__":
    raise SystemExit(main())
