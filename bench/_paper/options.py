"""What the command line asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._paper.data import Data, load
from bench._paper.scenes import Kind, Scene, make_scene


@dataclass(frozen=True)
class Options:
    """experiment, dataset, directory, seeds, quick, cache: as asked for. figures: the folder
    for PNGs. say: prints a line of progress. rows: a file that each row measured is added to.
    images, side: of CIFAR-10, D and its pixels in a reduced experiment.
    """

    experiment: str
    dataset: str
    directory: Path
    seeds: Sequence[int]
    quick: bool
    device: str
    cache: Path | None
    figures: Path
    say: Callable[[str], None]
    rows: Path | None = None
    images: int | None = None
    side: int | None = None

    def keep(self, row: dict[str, Any]) -> None:
        """Add a row, as a line of JSON, to what a run that is cut short leaves."""
        if self.rows is not None:
            with self.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def data(self, seed: int) -> Data:
        return load(self.dataset, self.directory, seed, self.images, self.side)

    def scene(self, kind: Kind, size: float, seed: int) -> Scene:
        return make_scene(kind, size, self.data(seed), seed, self.device, self.cache)
