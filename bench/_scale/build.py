"""A data set of the size that is asked for, with a model: made once, kept in a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench._soak.blobs import Blobs
from core import migrate
from core.backend import Backend, open_backend
from core.importing import Importer
from core.settings import Settings
from lethe.console import progress

SECRET = "a secret of at least sixteen characters"
DATASET = "blobs"


def settings_of(home: Path) -> Settings:
    """Embedded settings under `home`."""
    return Settings.model_validate({"home": home, "secret": SECRET})


def build(home: Path, samples: int) -> None:
    """Import `samples` generated samples into an embedded home, if that was not done before."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(open_backend(settings_of(home), send=lambda _: None)) as backend:
        migrate.upgrade(backend.db)
        if not _there(backend):
            began = time.monotonic()
            with progress(f"Importing {samples} samples") as advance:
                _import(backend, samples, lambda n: advance(n / samples, f"{n} of {samples}"))
            print(f"{samples} imported in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _there(backend: Backend) -> bool:
    from core.datasets import datasets

    with backend.db.reading() as session:
        return any(each.name == DATASET for each in datasets(session))


def _import(backend: Backend, samples: int, on_progress: Callable[[int], None]) -> None:
    importer = Importer(backend.db, backend.samples, backend.identities)
    importer.run(DATASET, Blobs(samples), on_progress=on_progress)
