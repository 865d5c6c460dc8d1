"""Minibatches out of tensors that are in memory: index order and augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["none", "shift", "crop_flip"]
AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "shift", "crop_flip")


def epoch_batches(n: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """The indices 0..n-1 in random order, `batch` at a time; the last one may be smaller.

    A last batch of one joins the one before: batch normalisation cannot take it.
    """
    parts = list(torch.split(torch.randperm(n, generator=generator), batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def endless_batches(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of min(n, batch) indices for ever, reshuffled at each pass over 0..n-1."""
    size = min(n, batch)
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def augment(images: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Randomly moved copies of images [B, C, H, W]; what moves in from outside is 0.

    "shift": by at most one pixel each way, each of the nine equally often in a batch.
    "crop_flip": by at most four pixels, eight moves a batch, half of them mirrored.
    The images of a batch come in random order, so that contiguous groups can share a move.
    """
    if kind == "none":
        return images
    height, width = images.shape[-2:]
    if kind == "shift":
        moves = [(dy, dx) for dy in range(3) for dx in range(3)]
        pad = 1
    else:
        pad = 4
        drawn = torch.randint(0, 2 * pad + 1, (8, 2), generator=generator)
        moves = [(int(dy), int(dx)) for dy, dx in drawn.tolist()]
    padded = functional.pad(images, (pad, pad, pad, pad))
    groups = torch.tensor_split(padded, len(moves))
    moved = [
        group[..., dy : dy + height, dx : dx + width]
        for group, (dy, dx) in zip(groups, moves, strict=True)
    ]
    if kind == "crop_flip":
        moved[::2] = [group.flip(-1) for group in moved[::2]]
    return torch.cat(moved)
