"""Versions whose answers tell them apart, published one after another as jobs do it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench._serving import scene
from core import replicas
from core.records import Version
from unlearning import VIB

AFTER = 0.1
"""Seconds that still count to a swap once every process has reported it."""


@dataclass(frozen=True)
class Swap:
    """A version and when it came: CLOCK_MONOTONIC seconds."""

    began: float
    """Its file is about to be written."""
    ended: float
    """Every process serves it, and AFTER has passed."""
    seconds: float
    """From its publication's commit until every process serves it."""


@dataclass(frozen=True)
class Expected:
    """What a version answers for the one image that is asked about."""

    digest: str
    probabilities: NDArray[np.float32]


def variant(number: int) -> VIB:
    """The same network but for the last layer's bias, which is drawn anew for each number."""
    made = scene.vib()
    rng = np.random.default_rng(number)
    bias = torch.from_numpy(rng.normal(0.0, 2.0, made.architecture.classes).astype(np.float32))
    made.load_state_dict(made.state_dict() | {"approximator.2.bias": bias})
    return made


def expected(version: Version, vib: VIB, image: NDArray[np.float64]) -> Expected:
    """Computed here, by the library alone."""
    found = vib.predict(torch.from_numpy(image[None]).float())
    return Expected(version.digest, found.probabilities_BC[0].numpy())


def swap(home: scene.Home, vib: VIB, workers: int) -> tuple[Version, Swap]:
    """Publish `vib` and wait until `workers` processes say that they serve it."""
    began = time.monotonic()
    version = home.publish(vib)
    published = time.monotonic()
    while not _everywhere(home, version, workers):
        if time.monotonic() - published > 60:
            raise RuntimeError(f"version {version.number} is not served everywhere after 60 s")
        time.sleep(0.01)
    served = time.monotonic()
    time.sleep(AFTER)
    return version, Swap(began, time.monotonic(), served - published)


def _everywhere(home: scene.Home, version: Version, workers: int) -> bool:
    with home.backend.db.reading() as session:
        entries = [each.serving.get(version.model_id, {}) for each in replicas.live(session)]
    return [entry.get("digest") for entry in entries] == [version.digest] * workers
