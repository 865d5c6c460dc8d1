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
from numpy.typing import NDArray

from core.settings import Settings
from service.inference.batcher import Batcher
from service.inference.forward import Floats
from service.inference.loader import Loader
from service.inference.versions import Served


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions for N images, of the version `served` alone.

    probabilities: float32 [N, C], in the order of `served.classes`, at z = mu. labels: int64
    [N], the likeliest class. uncertainty, information: float32 [N], in nats; see `Outputs`.
    """

    served: Served
    probabilities: Floats
    labels: NDArray[np.int64]
    uncertainty: Floats
    information: Floats | None = None


class Inference:
    """What a process predicts with; `app.state.inference` where models are served."""

    def __init__(self, loader: Loader, settings: Settings) -> None:
        self.loader = loader
        self.seconds = settings.predict_seconds
        self._batcher = Batcher(settings.predict_queue)

    def close(self) -> None:
        """Let the pass that runs end. The loader is stopped by itself."""
        self._batcher.close()

    @asynccontextmanager
    async def use(self, model: str | None, version: int | None = None) -> AsyncIterator[Served]:
        """The version to answer from, held for the block; see `hold`."""
        served = await self.hold(model, version)
        try:
            yield served
        finally:
            self.loader.release(served)

    async def hold(self, model: str | None, version: int | None = None) -> Served:
        """The version to answer from until `loader.release`.

        The serving one of `model` (of the only one, when None), or the one of that number.
        `served.classes` and `served.shape` say what it takes and gives. Raises `NotFound` for
        an unknown model or version, `Unavailable` while none can be served, and for a number
        what `Pins.fetch` does.
        """
        if version is None:
            return self.loader.hold(model)
        served = self.loader.pins.hold(model, version)
        if served is None:
            served = await asyncio.to_thread(self.loader.pins.fetch, model, version)
        return served

    async def infer(
        self, served: Served, images: Floats, *, samples: int = 0, deadline: float | None = None
    ) -> Answered:
        """Classify images in 0..1, float32 [N, C, H, W] with N >= 1, by a version from `use`.

        samples: draws of z behind the uncertainty, at most `MOST_SAMPLES`. deadline: by the
        loop's clock, at most LETHE_PREDICT_SECONDS from now. Raises `TooBusy` when too many
        images wait, `TimedOut` at the deadline. A caller that is cancelled leaves the queue.
        """
        latest = asyncio.get_running_loop().time() + self.seconds
        outputs = await self._batcher.answer(
            served.forward, images, samples, latest if deadline is None else min(deadline, latest)
        )
        return Answered(
            served,
            outputs.probabilities,
            outputs.probabilities.argmax(axis=1),
            outputs.uncertainty,
            outputs.information,
        )
