"""A first training with a progress bar, for `lethe train` and the demo."""

from __future__ import annotations

import os
from typing import Any

import torch

from core import datasets
from core.backend import Backend
from lethe.console import progress
from unlearning import PRESETS, preset_for
from worker.train import first_training


def train_shown(
    backend: Backend,
    model: str,
    dataset: str,
    *,
    preset: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Train `model` on `dataset` here; what `worker.train.first_training` returns and raises."""
    with backend.db.reading() as session:
        shape = datasets.dataset_named(session, dataset).shape
    chosen = PRESETS.get(preset) if preset else preset_for((shape[0], shape[1], shape[2]))
    if chosen and chosen.kind == "mlp" and "OMP_NUM_THREADS" not in os.environ:
        # Steps of a tenth of a millisecond: threads would mostly wait for one another, and
        # where others compute beside us a second one made training ten times slower.
        torch.set_num_threads(1)
    with progress(f"Training {model}") as advance:
        return first_training(
            backend,
            model,
            dataset,
            preset=preset,
            seed=seed,
            epochs=epochs,
            device=backend.settings.device,
            on_progress=lambda what, share: advance(share, what),
        )
