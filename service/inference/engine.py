"""The one door through which every protocol predicts.

A call holds one version of a model, brings its images to that version's shape, asks for
their predictions and answers from the same version:

    async with inference.use(model, version) as served:
        answered = await inference.infer(served, images)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import NotFound
from service.inference.loader import Loader, Served

UNCERTAINTY_SAMPLES = 16
"""Draws of z behind the predictive entropy in an answer."""


@dataclass(frozen=True)
class Answered:
    """Predictions for N images, of the version `served` alone.

    probabilities: float32 [N, C], in the order of `served.classes`. labels: int64 [N], the
    likeliest class. uncertainty: float32 [N], the predictive entropy in nats.
    """

    served: Served
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    uncertainty: NDArray[np.float32]


class Inference:
    """What a process predicts with; `app.state.inference` where models are served."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    @asynccontextmanager
    async def use(self, model: str | None, version: int | None = None) -> AsyncIterator[Served]:
        """The version to answer from: the serving one of `model` (of the only one, when None).

        `served.classes` and `served.shape` say what it takes and gives. Raises `NotFound` for
        an unknown model or version, `Unavailable` while none can be served.
        """
        with self.loader.use(model) as served:
            if version is not None and version != served.number:
                raise NotFound(f"model {served.model!r} serves version {served.number}")
            yield served

    async def infer(self, served: Served, images: NDArray[np.float32]) -> Answered:
        """Classify images in 0..1, float32 [N, C, H, W] with N >= 1, by a version from `use`."""
        found = await asyncio.to_thread(
            served.vib.predict, torch.from_numpy(images), UNCERTAINTY_SAMPLES
        )
        return Answered(
            served,
            found.probabilities_BC.cpu().numpy(),
            found.label_B.cpu().numpy(),
            found.uncertainty_B.cpu().numpy(),
        )
