"""Pictures from foreign bytes, as the arrays that data sets and models take."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Mode = Literal["L", "RGB"]


def mode_for(channels: int) -> Mode:
    """The Pillow mode of images with that many channels; ValueError for other than 1 or 3."""
    if channels == 1:
        return "L"
    if channels == 3:
        return "RGB"
    raise ValueError(f"pictures have 1 or 3 channels, not {channels}")


def decode(data: bytes, where: str, mode: Mode | None = None) -> NDArray[np.uint8]:
    """The picture as uint8 [C, H, W], in `mode` or its own (grey stays grey, all else is RGB).

    Raises ValueError, naming `where`, for bytes that are no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            grey = picture.mode in {"1", "L", "LA", "I", "I;16"}
            array = np.asarray(picture.convert(mode or ("L" if grey else "RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"{where}: not a readable picture ({reason})") from None
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def fit(data: bytes, where: str, shape: tuple[int, int, int]) -> list[list[list[float]]]:
    """A picture in the size and colours of `shape` (C, H, W), as nested lists in 0..1."""
    channels, height, width = shape
    pixels = decode(data, where, mode_for(channels))
    if pixels.shape[1:] != (height, width):
        picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
        resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        pixels = resized[None] if channels == 1 else resized.transpose(2, 0, 1)
    values: list[list[list[float]]] = (pixels.astype(np.float64) / 255.0).tolist()
    return values
