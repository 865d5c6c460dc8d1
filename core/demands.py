"""What a model's jobs ask of a worker, and for whom they run; what a worker offers.

A class is a queue: workers may be told which they serve. It follows from the architecture, the
memory from what jobs of the model took, or from the architecture until one has run; a model's
policy may say otherwise (`scheduling`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError
from core.records import Model

SMALL, LARGE = "small", "gpu"
"""Classes by architecture: fully connected networks, for which a CPU will do, and all others."""

UNMEASURED = {"erase": 60.0, "retrain": 600.0}
"""Seconds that a job is taken to last while none of its model has ended."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_MOST = {"weight": 1000.0, "memory_mb": 10_000_000}
PARTS = ("class", "tenant", "weight", "memory_mb")


@dataclass(frozen=True)
class Demand:
    """job_class: the queue. tenant: with whom the model shares one fair share, its own id where
    it shares with none; weight: of that share. memory_mb: what a job takes on the device."""

    job_class: str
    tenant: str
    weight: float
    memory_mb: int


def of(model: Model) -> Demand:
    """What the model's jobs ask for."""
    said = model.policy.get("scheduling", {})
    measured = (model.costs or {}).get("memory_mb")
    return Demand(
        said.get("class") or _class(model.architecture),
        said.get("tenant") or model.id,
        float(said.get("weight") or 1.0),
        int(said.get("memory_mb") or measured or estimated_mb(model.architecture)),
    )


def seconds_of(model: Model, kind: str) -> float:
    """How long a job of the model lasts: by those that ended, or `UNMEASURED`."""
    found: float = (model.costs or {}).get(kind) or UNMEASURED[kind]
    return found


def _class(architecture: Mapping[str, Any]) -> str:
    return SMALL if architecture.get("kind") == "mlp" else LARGE


def estimated_mb(architecture: Mapping[str, Any]) -> int:
    """Megabytes that a job of such a model takes at most, by a rough count that errs high.

    Weights of the model before and after, gradients, two moments and the teacher's folds; the
    activations of a minibatch; 60,000 remaining samples; the device's own context.
    """
    channels, height, width = map(int, architecture.get("input_shape", (1, 28, 28)))
    pixels = channels * height * width
    hidden, latent = int(architecture.get("hidden", 512)), int(architecture.get("latent", 64))
    if _class(architecture) == SMALL:
        weights, activations = pixels * hidden + hidden * (2 * latent + hidden), 8 * hidden
    else:  # a ResNet-18: 11.2 million weights, and 1,500 activations for each pixel's place
        weights, activations = 11_200_000 + 2 * hidden * latent, 1500 * height * width
    numbers = 12 * weights + 256 * activations
    return round((4 * numbers + 2 * 60_000 * pixels) / 1e6 + 500)


@dataclass(frozen=True)
class Offer:
    """What a worker takes: jobs of these classes, None for all, that need at most so many
    megabytes on its device, None for any."""

    classes: frozenset[str] | None = None
    memory_mb: int | None = None

    def takes(self, demand: Demand) -> bool:
        """Can the worker run a job that asks for this?"""
        return self.serves(demand.job_class) and (
            self.memory_mb is None or demand.memory_mb <= self.memory_mb
        )

    def serves(self, job_class: str) -> bool:
        """Is the worker for this class at all?"""
        return self.classes is None or job_class in self.classes


ANYTHING = Offer()


def classes(text: str | None) -> frozenset[str] | None:
    """The classes in "small,gpu"; None, every class, for None. Raises `SettingsError`."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if not _NAME.fullmatch(name)]
    if wrong or not names:
        raise SettingsError(
            f"LETHE_WORKER_CLASSES: {text!r} is no list of classes such as small,gpu "
            "(small letters, digits, '-', '_' and '.')"
        )
    return frozenset(names)


def wrong(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a policy's `scheduling`, as (name, what). Null stands for the default."""
    found = []
    for name, value in given.items():
        if name not in PARTS:
            found.append((name, f"there is no such part; use {', '.join(PARTS)}"))
        elif value is None:
            continue
        elif name in _MOST:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 < value <= _MOST[name]):
                found.append((name, f"must be above 0 and at most {_MOST[name]:g}"))
        elif not (isinstance(value, str) and _NAME.fullmatch(value)):
            found.append((name, "must be a name of small letters, digits, '-', '_' and '.'"))
    return found
