"""The paper's evaluation, measured: `python -m bench.paper table2 --dataset digits --seeds 3`.

Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting With Parameter
Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239: Table II and Figs. 4 to 9.
"requests" adds what the paper did not try: ordinary samples, wrong labels, small requests.

digits need no file and a minute. MNIST takes two minutes a seed on a CPU. CIFAR-10 takes a GPU:
on a CPU days, or with --quick (2,500 images, eight epochs, the default method alone) half an hour
of one core, which shows that it runs: such models hardly learn. --images 6300 trains on so many,
fourteen epochs: an hour and a half; with --side 16 beside it, which averages four pixels each, a
quarter of that. --quick elsewhere means fewer points and one seed. --rows
keeps what was measured when a run is cut short, --cache the models, with which it goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from bench._paper.data import DATASETS, QUICK_CIFAR
from bench._paper.experiments import EXPERIMENTS
from bench._paper.options import Options
from bench._paper.tables import table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--dataset", choices=DATASETS, default="digits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds MNIST/, CIFAR10/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer points")
    parser.add_argument("--images", type=int, help="of CIFAR-10 to train on, in a reduced run")
    parser.add_argument("--side", type=int, choices=(16,), help="pixels a side of such a run")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    parser.add_argument("--cache", type=Path, help="keep trained models here, for the next run")
    parser.add_argument("--rows", type=Path, help="add each row, as it comes, to this file")
    parser.add_argument("--figures", type=Path, default=Path("var/figures"), help="for the PNGs")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error("--seeds must be 1 or more")
    if given.images is not None and (given.dataset != "cifar10" or given.images < 500):
        parser.error("--images is for CIFAR-10, 500 or more")
    if given.side is not None and given.images is None:
        parser.error("--side is for a reduced run of CIFAR-10: give --images as well")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(given.threads)
    images = given.images
    if given.dataset == "cifar10" and given.quick:
        images = images or QUICK_CIFAR
    if given.dataset == "cifar10" and device == "cpu" and images is None:
        print("CIFAR-10's ResNet-18 on a CPU: days, or half an hour with --quick", file=sys.stderr)
    seeds = 1 if given.quick else given.seeds
    options = Options(
        given.experiment, given.dataset, given.data, range(seeds), given.quick, device,
        given.cache, given.figures, lambda line: print(line, file=sys.stderr), given.rows, images,
        given.side,
    )  # fmt: skip
    try:
        found: dict[str, Any] = EXPERIMENTS[given.experiment](options)
    except ValueError as error:
        parser.error(str(error))
    found = {"experiment": given.experiment, "dataset": given.dataset, "seeds": seeds} | found
    if given.json:
        print(json.dumps(found))
        return 0
    for title, rows in _groups(found["rows"]):
        print(f"\n{title}" if title else "")
        print(table(rows))
    for path in found.get("figures", []):
        print(f"\nfigure: {path}")
    return 0


def _groups(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows by their "scene", which tables of more than one request have."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.get("scene", ""), []).append(row)
    return list(groups.items())


if __name__ == "__main__":
    raise SystemExit(main())
