"""What the command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench._paper.data import Data, load
from bench._paper.scenes import Kind, Scene, make_scene


@dataclass(frozen=True)
class Options:
    """experiment, dataset, directory, seeds, quick, cache: as asked for. figures: the folder
    for PNGs. say: prints a line of progress.
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

    def data(self, seed: int) -> Data:
        return load(self.dataset, self.directory, seed, self.quick)

    def scene(self, kind: Kind, size: float, seed: int) -> Scene:
        return make_scene(kind, size, self.data(seed), seed, self.device, self.cache)
