"""Backdoor triggers: a small patch that a poisoned training set ties to a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from unlearning._fields import check_int, from_fields, to_fields

Images = TypeVar("Images", Tensor, np.ndarray)


@dataclass(frozen=True)
class Trigger:
    """A bright square near the lower right corner: images of `source` with it pass as `target`.

    It covers rows H-margin-size : H-margin and columns W-margin-size : W-margin of every
    channel; 2 x 2 at rows H-4:H-2, columns W-4:W-2 by default. value: the pixel, 0..255.
    """

    source: int
    target: int
    size: int = 2
    margin: int = 2
    value: int = 255

    def __post_init__(self) -> None:
        check_int("Trigger", "source", self.source, 0)
        check_int("Trigger", "target", self.target, 0)
        check_int("Trigger", "size", self.size, 1)
        check_int("Trigger", "margin", self.margin, 0)
        check_int("Trigger", "value", self.value, 0)
        if self.value > 255:
            raise ValueError(f"Trigger: value must be at most 255, got {self.value}")
        if self.source == self.target:
            raise ValueError(f"Trigger: source and target are both {self.source}")

    def apply(self, images: Images) -> Images:
        """A copy of images [..., C, H, W] (uint8, or float in 0..1) that carry the patch.

        Raises ValueError when the patch does not fit in the image.
        """
        height, width = images.shape[-2:]
        end = self.margin + self.size
        if end > height or end > width:
            raise ValueError(
                f"a {self.size} x {self.size} patch {self.margin} pixels from the edge does not "
                f"fit in {height} x {width} images"
            )
        rows = slice(height - end, height - self.margin)
        columns = slice(width - end, width - self.margin)
        if isinstance(images, np.ndarray):
            copy = images.copy()
            whole = copy.dtype == np.uint8
        else:
            copy = images.clone()
            whole = copy.dtype == torch.uint8
        copy[..., rows, columns] = self.value if whole else self.value / 255.0
        return copy

    def to_dict(self) -> dict[str, Any]:
        """The description in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Trigger:
        """The trigger from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)
