"""A data set of the size that is asked for, with a model: made once, kept in a folder."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import closing
from pathlib import Path

import torch
from sqlalchemy import select

from bench._soak.blobs import Blobs
from core import datasets, migrate
from core.backend import Backend, open_backend
from core.importing import Importer
from core.records import Model
from core.settings import Settings
from lethe.console import progress
from worker.adopt import import_model
from worker.train import first_training

SECRET = "a secret of at least sixteen characters"
DATASET = "blobs"


def settings_of(home: Path, database_url: str | None = None) -> Settings:
    """Settings under `home`, embedded unless a database is named."""
    values = {"home": home, "secret": SECRET, "database_url": database_url}
    return Settings.model_validate(values)


def build(
    home: Path,
    samples: int,
    names: tuple[str, ...] = (DATASET,),
    database_url: str | None = None,
) -> None:
    """Data sets of `samples` generated samples in an embedded home, and a model of each by the
    same name; what is there already is left as it is."""
    home.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # so small a network gains nothing by more, and waits for each
    settings = settings_of(home, database_url)
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        migrate.upgrade(backend.db)
        with backend.db.reading() as session:
            sets = {each.name for each in datasets.datasets(session)}
            models = set(session.scalars(select(Model.name)))
        for name in names:
            if name not in sets:
                _import(backend, name, samples)
            if name not in models:
                print(f"importing model {name}", file=sys.stderr)
                import_model(backend, name, _weights(home.parent), name, device="cpu")
        with backend.db.transaction() as tx:  # no exact retraining comes between the jobs
            for model in tx.session.scalars(select(Model)):
                budget = {"accuracy_lost": 1.0, "erased_share": 1.0, "jobs": 10_000}
                model.policy = model.policy | {"budget": budget}


def _import(backend: Backend, name: str, samples: int) -> None:
    began = time.monotonic()
    importer = Importer(backend.db, backend.samples, backend.identities)
    with progress(f"Importing {samples} samples") as advance:
        importer.run(
            name,
            Blobs(samples),
            on_progress=lambda seen: advance(seen / samples, f"{seen} of {samples}"),
        )
    print(f"{samples} imported in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _weights(keep: Path) -> Path:
    """The weights that every model has: trained once, on a small data set of the same kind."""
    file = keep / "weights.safetensors"
    if not file.exists():
        print("training the model", file=sys.stderr)
        home = keep / "trained"
        home.mkdir(exist_ok=True)
        with closing(open_backend(settings_of(home), send=lambda _: None)) as backend:
            migrate.upgrade(backend.db)
            _import(backend, DATASET, 20_000)
            made = first_training(backend, DATASET, DATASET, epochs=3, device="cpu")
        shutil.copy(home / "store" / "checkpoints" / f"{made['digest']}.safetensors", file)
    return file
