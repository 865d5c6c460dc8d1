"""Images of samples as small PNG files within a page: kept by no cache, as the page is not."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.samples import SPLITS, SampleBatch

SIDE = 56
"""Pixels that a thumbnail has at least: small images are enlarged in whole steps."""


@dataclass(frozen=True)
class Thumbnail:
    """One sample: its number and split (nothing that names anybody), its image as an address."""

    key: int
    split: str
    address: str


def thumbnails(batch: SampleBatch) -> list[Thumbnail]:
    """Each sample of a batch."""
    return [
        Thumbnail(int(key), SPLITS[split], as_png(image))
        for key, split, image in zip(batch.keys, batch.splits, batch.images, strict=True)
    ]


def as_png(image: NDArray[Any]) -> str:
    """An image (uint8, C x H x W) as a data: address, enlarged so that it can be seen."""
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    shown = Image.fromarray(np.ascontiguousarray(pixels))
    times = max(1, -(-SIDE // max(shown.size)))
    if times > 1:
        shown = shown.resize((shown.width * times, shown.height * times), Image.Resampling.NEAREST)
    file = io.BytesIO()
    shown.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
