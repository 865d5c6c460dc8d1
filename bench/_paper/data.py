"""The data of the paper's experiments, split as the service splits it.

R (references) and H (held out) are held back from the training split, and nothing is ever
trained on them but the teacher (R alone). T is the test split, for utility.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unlearning import PRESETS, Preset, Samples, digits, mnist

DATASETS = ("digits", "mnist", "cifar10")
_HELD_BACK = 0.05  # of the training split, for each of R and H
_SIDE = 32  # of CIFAR-10
QUICK_CIFAR = 2500  # D of CIFAR-10, for half an hour of one core


@dataclass(frozen=True, eq=False)
class Data:
    """D (pool: what is trained on before anything is erased), R, H and T, and the preset.

    spare: what a reduced experiment leaves over. Nothing is trained on it either; of one class of H
    alone there are few, too few to tell an AUC from another.
    """

    name: str
    pool: Samples
    references: Samples
    held_out: Samples
    test: Samples
    preset: Preset
    spare: Samples | None = None

    @property
    def classes(self) -> int:
        return int(self.test.labels.max()) + 1


def load(
    name: str, directory: Path, seed: int, images: int | None = None, side: int | None = None
) -> Data:
    """The data set `name`, its R and H drawn with `seed`.

    images: so many of CIFAR-10 for D, with fewer of the rest and a shorter schedule (`_reduced`).
    side: CIFAR-10's pixels a side; each of fewer than 32 is the mean of those it covers.
    Raises ValueError for an unknown name, for files that are not there or hold too few images.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == "digits":
        everything = digits().samples()
        order = torch.randperm(len(everything), generator=generator)
        pool, references, held, test = (
            everything[i] for i in order.split([len(everything) - 750, 270, 180, 300])
        )
        return Data(name, pool, references, held, test, PRESETS["digits-mlp"])
    if name == "mnist":
        source = mnist(directory)
        everything, test = source.samples("train"), source.samples("test")
        preset = PRESETS["mnist-mlp"]
    elif name == "cifar10":
        everything = _cifar10(directory / "CIFAR10" / "train.parquet", side or _SIDE)
        test = _cifar10(directory / "CIFAR10" / "test.parquet", side or _SIDE)
        preset = PRESETS["cifar-resnet18"]
    else:
        raise ValueError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}")
    order = torch.randperm(len(everything), generator=generator)
    held, spare = round(_HELD_BACK * len(everything)), None
    if name == "cifar10" and images:
        held, tested, preset = _reduced(images, preset)
        if images + 2 * held > len(order):
            raise ValueError(f"{images} images and {2 * held} held back are more than there are")
        spare = everything[order[images + 2 * held :]]
        order, test = order[: images + 2 * held], test[:tested]
    return Data(
        name,
        everything[order[2 * held :]],
        everything[order[:held]],
        everything[order[held : 2 * held]],
        test,
        preset,
        spare,
    )


def _reduced(images: int, preset: Preset) -> tuple[int, int, Preset]:
    """Each of R and H, T, and the preset, for a D of so many images."""
    if images <= QUICK_CIFAR:
        held, tested, epochs = 500, 1000, 8
    else:
        held, tested, epochs = images * 3 // 14, 2000, 14
    short = replace(preset.training, epochs=epochs, batch=50, lr=1e-3)
    return held, tested, replace(preset, training=short)


def _cifar10(path: Path, side: int) -> Samples:
    """A parquet file with columns image (JPEG bytes of 32 x 32 RGB) and label (0..9)."""
    from pyarrow import parquet  # only this data set needs it

    if not path.is_file():
        raise ValueError(f"no {path}: --data names the folder that holds CIFAR10/*.parquet")
    table = parquet.read_table(path, columns=["image", "label"])
    images = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).transpose(2, 0, 1)
            for raw in table["image"].to_pylist()
        ]
    )
    if side < _SIDE:
        by = _SIDE // side
        tiles = images.reshape(len(images), 3, side, by, side, by)
        images = tiles.mean(axis=(3, 5), dtype=np.float32).round().astype(np.uint8)
    return Samples.from_numpy(images, table["label"].to_numpy().astype(np.int64))
