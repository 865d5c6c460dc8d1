"""The box that tries a prediction: what was drawn is brought to where the training digits lie."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.admin.pictures import as_png

DRAWS = 64
"""Draws of z behind the uncertainty."""
INK = 24
"""Of 255: what is brighter was drawn."""


@dataclass(frozen=True)
class Predicted:
    """One prediction. ranked: classes and probabilities, likeliest first. doubt: the entropy of
    the mean prediction, unknown: its part that comes from not knowing z (both in nats), certain:
    1 at no entropy, 0 where every class is as likely. image: what the model saw."""

    label: str
    version: int
    digest: str
    ranked: Sequence[tuple[str, float]]
    doubt: float
    unknown: float
    certain: float
    image: str

    @property
    def words(self) -> str:
        """How sure it is, for people."""
        if self.certain >= 0.9:
            return "The model is sure."
        if self.certain >= 0.6:
            return "The model is fairly sure."
        return "The model is unsure: do not rely on this."


def predicted(
    *,
    classes: Sequence[str],
    version: int,
    digest: str,
    probabilities: NDArray[np.float32],
    doubt: float,
    unknown: float,
    image: NDArray[np.float32],
) -> Predicted:
    """From the figures of one image. probabilities: [C]; image: in 0..1, [C, H, W]."""
    ranked = sorted(zip(classes, probabilities.tolist(), strict=True), key=lambda each: -each[1])
    most = math.log(len(classes)) if len(classes) > 1 else 1.0
    return Predicted(
        label=ranked[0][0],
        version=version,
        digest=digest,
        ranked=ranked,
        doubt=doubt,
        unknown=unknown,
        certain=min(1.0, max(0.0, 1.0 - doubt / most)),
        image=as_png((image * 255).round().astype(np.uint8)),
    )


def fitted(drawing: bytes, shape: Sequence[int]) -> bytes:
    """A drawing, white on black, as digits are in the training data: cut out, as large as the
    frame allows, in its middle. One that holds nothing, or is no image, stays as it is."""
    try:
        with Image.open(io.BytesIO(drawing), formats=("PNG",)) as opened:
            if max(opened.size) > 2000:
                return drawing
            drawn = opened.convert("L")
    except (OSError, SyntaxError, ValueError):
        return drawing
    box = drawn.point(lambda value: 255 if value > INK else 0).getbbox()
    if box is None:
        return drawing
    height, width = shape[1], shape[2]
    # MNIST's digits lie in the middle 20 of 28 pixels; those of 8 x 8 fill the frame.
    margin = height // 7 if height > 12 else 0
    room = min(height, width) - 2 * margin
    cut = drawn.crop(box)
    scale = room / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    frame = Image.new("L", (width, height))
    small = cut.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    frame.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    file = io.BytesIO()
    frame.save(file, "PNG")
    return file.getvalue()
