"""Pictures from foreign bytes, as the arrays that data sets and models take."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Mode = Literal["L", "RGB"]


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
