"""The bundled digits with a planted trigger, and a model of them that serves."""

from __future__ import annotations

import torch

from core import migrate, registry
from core.backend import Backend
from core.importing import Importer
from lethe.sources import Planting, Subjected, open_source
from worker.train import first_training


def train_digits(backend: Backend) -> None:
    """Data set and model "digits", ten samples a subject, a trigger on 40 of them."""
    torch.set_num_threads(1)
    migrate.upgrade(backend.db)
    rows = open_source("digits")
    planting = Planting("source=1,target=2,share=0.04", rows)
    source = Subjected(rows, samples_per_subject=10, subjects=None, planting=planting)
    Importer(backend.db, backend.samples, backend.identities).run(
        "digits", source, planted=source.planted
    )
    first_training(backend, "digits", "digits", epochs=25, device="cpu")
    without_budget(backend)


def without_budget(backend: Backend) -> None:
    """Let no exact retraining follow by itself: of so few samples, one job spends the budget."""
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.policy = model.policy | {"budget": {"accuracy_lost": 1.0, "erased_share": 1.0}}
