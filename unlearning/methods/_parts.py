"""What a descent is put together from: the forgetting loss, the variables, the update, the stop.

Shapes: D parameters, V variables, m erased samples in a step.
"""

# ruff: noqa: N803 - symbols carry their shapes

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unlearning._closed_forms import OutputGradient
from unlearning._flat import FlatParameters
from unlearning.vib import VIB, Output


class ForgetLoss(Protocol):
    """L_u from the outputs on m erased samples and their indices e [m] in the erased set."""

    def __call__(self, out: Output, e: Tensor) -> Tensor: ...


@runtime_checkable
class Estimator(Protocol):
    """A forgetting loss that learns or draws: kept in snapshots, on the run's own stream."""

    def tensors(self) -> dict[str, Tensor]: ...

    def draw_from(self, noise: torch.Generator) -> None: ...


@runtime_checkable
class Following(Protocol):
    """A forgetting loss that looks at the model as it changes, `every` so many steps: kept in
    snapshots. What it has seen must stay in the same tensors."""

    every: int

    def tensors(self) -> dict[str, Tensor]: ...

    def follow(self, model: VIB, step: int) -> None: ...


@runtime_checkable
class ClosedForm(Protocol):
    """A forgetting loss whose gradients with respect to the outputs are known in closed form."""

    def gradient(self, out: Output, e: Tensor) -> OutputGradient: ...


class Stop(Protocol):
    """When to end; asked of the model that would be shipped."""

    def __call__(self, model: VIB, step: int, /) -> bool: ...

    def state(self) -> dict[str, Any]:
        """What it remembers from check to check, in JSON's own types."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        ...


class Variables(Protocol):
    """What is descended on. The plain case is the weights themselves (`Weights`)."""

    theta_V: Tensor  # noqa: N815

    def place(self, noise: torch.Generator) -> None:
        """Give the model the weights that the coming step is to be taken at."""
        ...

    def gradients(self, g_2D: Tensor, loss_u: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients [2, V] and L_u of the variables, from those of the model's weights."""
        ...

    def ship(self, theta_V: Tensor, model_D: Tensor) -> None:
        """Write to model_D the weights to ship when the variables are (averaged) theta_V."""
        ...


class Update(Protocol):
    """How a gradient is followed: Adam, unless a method has its own."""

    def tensors(self) -> dict[str, Tensor]: ...

    def step(self, g_V: Tensor, lr: float) -> None: ...


class Weights:
    """The model's own weights as variables."""

    def __init__(self, flat: FlatParameters) -> None:
        self.theta_V = flat.theta_D

    def place(self, noise: torch.Generator) -> None:
        """They are in place."""

    def gradients(self, g_2D: Tensor, loss_u: Tensor) -> tuple[Tensor, Tensor]:
        return g_2D, loss_u

    def ship(self, theta_V: Tensor, model_D: Tensor) -> None:
        model_D.copy_(theta_V)
