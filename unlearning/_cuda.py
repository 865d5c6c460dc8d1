"""What only a CUDA device does: replay a whole step as one graph, without a launch a kernel.

Never reached on a CPU; tests/gpu exercises it where there is a device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 3  # steps before a capture: libraries choose and allocate in the first ones


def captured(step: Callable[[Tensor, Tensor], Tensor], noise: torch.Generator) -> Captured:
    """`step`, whose only inputs are index tensors of constant length, to be replayed.

    All else that it reads or writes must live in tensors that stay where they are, and its
    random numbers must come from `noise` alone.
    """
    return Captured(step, noise)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively: compute capability 8 or more."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


class Captured:
    """The first steps run as they are, on a side stream as capture asks; then one graph."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], noise: torch.Generator) -> None:
        self._step, self._noise = step, noise
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, e: Tensor, r: Tensor) -> Tensor:
        if self._graph is None and self._taken < _WARM_UP:
            self._taken += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                values = self._step(e, r)
            torch.cuda.current_stream().wait_stream(self._stream)
            return values
        if self._graph is None:
            self._e, self._r = e.clone(), r.clone()
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._noise)
            with torch.cuda.graph(self._graph):  # records; nothing is run
                self._values = self._step(self._e, self._r)
        self._e.copy_(e)
        self._r.copy_(r)
        self._graph.replay()
        return self._values
