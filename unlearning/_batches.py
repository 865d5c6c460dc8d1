"""Minibatches out of tensors that are in memory: index order and augmentation."""

from __future__ import annotations

import hashlib
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


class EndlessBatches:
    """Batches of min(n, batch) indices for ever, reshuffled at each pass over 0..n-1.

    A batch is a function of its number and of the seed alone: nothing needs to be kept to go
    on from any step. `stream` tells apart several of one seed.
    """

    def __init__(
        self, n: int, batch: int, seed: int, stream: str, device: str | torch.device = "cpu"
    ) -> None:
        self._n, self._size = n, min(n, batch)
        self._seed, self._stream, self._device = seed, stream, device
        self._a_pass = n // self._size if self._size else 1
        self._now = -1
        self._order = torch.empty(0, dtype=torch.int64, device=device)

    def __getitem__(self, number: int) -> Tensor:
        """Indices, int64 on the device, of batch `number`, 0 or more."""
        which, place = divmod(number, self._a_pass)
        if which != self._now and self._size:
            generator = seeded(self._seed, self._stream, which)
            self._order = torch.randperm(self._n, generator=generator).to(self._device)
            self._now = which
        return self._order[place * self._size : (place + 1) * self._size]


def seeded(seed: int, stream: str, number: int = 0) -> torch.Generator:
    """A generator of its own for every seed, stream and number."""
    digest = hashlib.sha256(f"{seed}/{stream}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


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
