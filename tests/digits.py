"""The bundled digits with a planted trigger, and a model of them that serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa
import torch

from core import audit, migrate, registry
from core.backend import Backend
from core.db import Base, Database
from core.importing import Importer
from core.settings import Settings
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


def copy_digits(trained: Path, settings: Settings) -> None:
    """What `train_digits` has made in the home `trained`, in another home and its database.

    The secret must be the same.
    """
    shutil.copytree(trained, settings.home, dirs_exist_ok=True)
    if settings.database_url is None:
        return
    copied = settings.home / "lethe.db"
    there = Database(settings.database, chain=audit.chain)
    migrate.upgrade(there)
    source = sa.create_engine(f"sqlite:///{copied}")
    with source.connect() as old, there.engine.begin() as new:
        for table in Base.metadata.sorted_tables:
            if rows := [dict(row) for row in old.execute(table.select()).mappings()]:
                new.execute(table.insert(), rows)
        counted = "SELECT setval(pg_get_serial_sequence('subjects', 'id'), max(id)) FROM subjects"
        new.execute(sa.text(counted))
    source.dispose()
    there.close()
    copied.unlink()
