"""The model that every contender serves, in plain PyTorch: nothing here knows Lethe.

The environments of the contenders have this folder on their path, and their own PyTorch.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn


class Digits:
    """From images in 0..1 to class probabilities: the layers that a VIB predicts with at z = mu.

    weights: a file of `torch.save`: a state dict of the layers, first to last.
    """

    def __init__(self, weights: str = "") -> None:
        torch.set_num_threads(1)
        state = torch.load(weights or os.environ["BENCH_WEIGHTS"], weights_only=True)
        sizes = [tuple(each.shape) for name, each in state.items() if name.endswith("weight")]
        layers: list[nn.Module] = [nn.Flatten()]
        # Dense, ReLU, dense (mu); dense, ReLU, dense (the class scores).
        for (out, into), last in zip(sizes, (False, True, False, True), strict=True):
            layers += [nn.Linear(into, out)] if last else [nn.Linear(into, out), nn.ReLU()]
        self.net = nn.Sequential(*layers).eval()
        named = zip(self.net.state_dict(), state.values(), strict=True)
        self.net.load_state_dict(dict(named))

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities [B, C] of float32 images [B, 1, 28, 28]."""
        return self.net(images).softmax(dim=1)


def tensor_of(nested: object) -> torch.Tensor:
    """Nested lists as float32: through NumPy, which is faster at it than PyTorch."""
    return torch.from_numpy(np.array(nested, dtype=np.float32))


def answer(probabilities: torch.Tensor) -> dict[str, object]:
    """What a client of a classifier wants of one image: the label and the probabilities."""
    row = probabilities.tolist()
    return {"label": str(row.index(max(row))), "probabilities": row}
