"""Where a run stood after a step: enough for another process to go on with the same bits.

A run names its moving parts once, as live tensors; a snapshot copies them out, and resuming
copies them back. Everything else (batches, targets) is a function of the seed and the step.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unlearning.samples import Samples


@dataclass(frozen=True, eq=False)
class Snapshot:
    """arrays: by name. state: values of JSON's own types; `state["step"]` steps were done.

    Both are plain, so that any store can keep them (a checkpoint's arrays and metadata).
    """

    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


class Stateful(Protocol):
    """A part of a run that changes from step to step, in place."""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that hold its state, by name: live, so that copying into them restores."""
        ...


class Moving:
    """A `Stateful` of tensors that have no object of their own."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors

    def tensors(self) -> dict[str, Tensor]:
        return self._tensors


@dataclass(frozen=True)
class Resumption:
    """What a caller asks for: resume from a snapshot, and be given one every `every` seconds
    (0: at every step). `on_snapshot` may do what it wants with what it is given.
    """

    resume: Snapshot | None = None
    on_snapshot: Callable[[Snapshot], None] | None = None
    every: float = 10.0

    @property
    def wanted(self) -> bool:
        """Whether anything is to be resumed or kept."""
        return self.resume is not None or self.on_snapshot is not None


class Keeper:
    """Takes and restores the snapshots of one run.

    identity: names the run (see `identity`); a snapshot of another is refused. parts: what
    moves, by name. generators: random streams, by name.
    """

    def __init__(
        self,
        asked: Resumption,
        identity: str,
        parts: Mapping[str, Stateful],
        generators: Mapping[str, torch.Generator],
    ) -> None:
        self._asked = asked
        self._identity = identity
        self._parts = parts
        self._generators = generators
        self._last = time.monotonic()
        self._given = 0

    def restore(self) -> dict[str, Any] | None:
        """Put every part back to where the snapshot was; its state, or None without one.

        Raises ValueError for a snapshot of another run.
        """
        snapshot = self._asked.resume
        if snapshot is None:
            return None
        if snapshot.state.get("identity") != self._identity:
            raise ValueError(
                "the snapshot is of another run (other weights, samples, configuration, seed or "
                "rung): begin again without it"
            )
        live = self._live()
        names = set(live) | {f"random.{name}" for name in self._generators}
        if set(snapshot.arrays) != names:
            raise ValueError(
                f"the snapshot lacks arrays, or has unknown ones: "
                f"{', '.join(sorted(names ^ set(snapshot.arrays)))}"
            )
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(torch.from_numpy(np.array(snapshot.arrays[name])))
        for name, generator in self._generators.items():
            generator.set_state(torch.from_numpy(np.array(snapshot.arrays[f"random.{name}"])))
        self._given = snapshot.state["step"]
        return snapshot.state

    def offer(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """After `step` steps: give a snapshot when one is wanted and due."""
        if time.monotonic() - self._last >= self._asked.every:
            self.give(step, state)

    def give(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """After `step` steps: give a snapshot, due or not, unless nobody wants it or has it."""
        on_snapshot = self._asked.on_snapshot
        if on_snapshot is None or step == self._given:
            return
        arrays = {
            name: tensor.detach().cpu().numpy().copy() for name, tensor in self._live().items()
        }
        for name, generator in self._generators.items():
            arrays[f"random.{name}"] = generator.get_state().numpy().copy()
        on_snapshot(Snapshot(arrays, {**state(), "step": step, "identity": self._identity}))
        self._last, self._given = time.monotonic(), step

    def _live(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": tensor
            for part, stateful in self._parts.items()
            for name, tensor in stateful.tensors().items()
        }


def identity(description: Mapping[str, Any], *contents: Samples | Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of what a run is: a description for JSON, samples and weights."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for content in contents:
        tensors = (
            {"images": content.images, "labels": content.labels}
            if isinstance(content, Samples)
            else content
        )
        for name, tensor in tensors.items():
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
