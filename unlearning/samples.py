"""Labelled images in two tensors: what training and unlearning work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """N labelled images, in memory.

    images: uint8 [N, C, H, W]. labels: int64 [N], 0 or more. Raises ValueError for anything else.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8 [N, C, H, W], got {self.images.dtype} "
                f"{list(self.images.shape)}"
            )
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 [N], got {self.labels.dtype} {list(self.labels.shape)}"
            )
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        if self.images.device != self.labels.device:
            raise ValueError(f"images are on {self.images.device}, labels on {self.labels.device}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Samples:
        """The samples at an index tensor, boolean mask or slice, in its order."""
        return Samples(self.images[index], self.labels[index])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    def to(self, device: str | torch.device) -> Samples:
        """The same samples on another device."""
        return Samples(self.images.to(device), self.labels.to(device))

    def check_classes(self, classes: int, what: str = "samples") -> None:
        """Raise ValueError when a label lies outside 0..classes-1."""
        if len(self) == 0:
            return
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            bad = low if low < 0 else high
            raise ValueError(f"{what}: label {bad} is outside the model's classes 0..{classes - 1}")

    @classmethod
    def from_numpy(cls, images: np.ndarray, labels: np.ndarray) -> Samples:
        """Samples from arrays: images [N, C, H, W], uint8 or float in 0..1 (rounded to 1/255).

        Raises ValueError for NaN, infinite or out-of-range pixels, fractional labels and
        wrong shapes.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if np.issubdtype(images.dtype, np.floating):
            if not np.isfinite(images).all():
                raise ValueError("images hold NaN or infinite pixels")
            if images.size and (images.min() < 0.0 or images.max() > 1.0):
                raise ValueError(
                    f"float pixels must lie in 0..1, got {images.min()}..{images.max()}"
                )
            images = np.rint(images * 255.0).astype(np.uint8)
        if images.dtype != np.uint8:
            raise ValueError(f"images must be uint8, or float in 0..1, got {images.dtype}")
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, got {labels.dtype}")
        # np.array copies: the tensors must neither alias nor inherit a read-only buffer.
        return cls(torch.from_numpy(np.array(images)), torch.from_numpy(labels.astype(np.int64)))

    @classmethod
    def concat(cls, *parts: Samples) -> Samples:
        """All samples of `parts`, in order. Raises ValueError for none, or unlike shapes."""
        if not parts:
            raise ValueError("concat needs at least one part")
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"images of unlike shapes: {sorted(shapes)}")
        return cls(
            torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
        )
