"""All parameters of a model as one vector, so that an optimiser step is a few operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatParameters:
    """theta_D: the model's D parameters as one vector that they are views of.

    Writing to `theta_D` changes the model; `grad_D` collects what `backward` finds.
    Only for a model that this package made for itself: the views outlive this object.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.theta_D = flat
        self.grad_D = torch.zeros_like(flat)
        start = 0
        for p in self.parameters:
            part = slice(start, start + p.numel())
            p.data = flat[part].view_as(p)
            p.grad = self.grad_D[part].view_as(p)
            start += p.numel()

    def gradient(self, loss: Tensor, *, keep_graph: bool = False) -> Tensor:
        """The gradient of `loss` as one vector [D]; zero where it does not depend on theta."""
        parts = torch.autograd.grad(
            loss, self.parameters, retain_graph=keep_graph, allow_unused=True
        )
        return torch.cat(
            [
                torch.zeros_like(p).reshape(-1) if g is None else g.reshape(-1)
                for g, p in zip(parts, self.parameters, strict=True)
            ]
        )
