"""What is served: an MNIST-sized VIB, published in a Lethe of its own, and exported for others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from core import drift, first_key, migrate, registry
from core.backend import Backend, open_backend
from core.checkpoints import Stored
from core.records import Model, Version
from core.settings import Settings
from tests import factories
from unlearning import PRESETS, VIB, Architecture, export_arrays
from unlearning.vib import initialise

MODEL = "mnist"
SHAPE = (1, 28, 28)


@dataclass(frozen=True)
class Home:
    """An embedded LETHE_HOME with a model that serves, opened for publishing more."""

    folder: Path
    backend: Backend
    model: Model
    key: str

    def serving(self) -> Version:
        """The version that is published now."""
        with self.backend.db.reading() as session:
            version = registry.serving(session, self.model.id)
        assert version is not None
        return version

    def publish(self, vib: VIB) -> Version:
        """A new version, written and published as a job does it."""
        metadata = {"architecture": json.dumps(vib.architecture.to_dict(), sort_keys=True)}
        stored = self.backend.checkpoints.write(export_arrays(vib), metadata)
        return self._publish(stored)

    def _publish(self, stored: Stored) -> Version:
        with self.backend.db.transaction() as tx:
            model = registry.lock_model(tx, self.model.id)
            parent = registry.serving(tx.session, model.id)
            metrics = {"accuracy": 0.9, "drift": drift.opened(trained=90, below=120, at=tx.now)}
            version = registry.add_version(
                tx, model, digest=stored.digest, metrics=metrics, parent=parent
            )
            registry.publish(tx, version)
        return version


@contextmanager
def home(folder: Path, vib: VIB) -> Iterator[Home]:
    """A new home in `folder`, with `vib` as version 1 of its one model."""
    # Whatever LETHE_* the caller has: this is one of its own.
    settings = Settings(home=folder / "home", database_url=None, broker_url=None, store_url=None)
    settings.home.mkdir()
    backend = open_backend(settings)
    try:
        migrate.upgrade(backend.db)
        key = first_key.ensure(backend.db, settings).text
        classes = [str(digit) for digit in range(vib.architecture.classes)]
        dataset = factories.make_dataset(backend, shape=SHAPE, classes=classes)
        with backend.db.transaction() as tx:
            model = registry.create_model(
                tx,
                MODEL,
                dataset,
                architecture=vib.architecture.to_dict(),
                training={"preset": "mnist-mlp"},
            )
        made = Home(folder / "home", backend, model, key)
        made.publish(vib)
        yield made
    finally:
        backend.close()


def vib(seed: int = 0) -> VIB:
    """The preset mnist-mlp, untrained: its answers are as dear as a trained one's."""
    return initialise(architecture(), seed).eval()


def architecture() -> Architecture:
    """Of the preset mnist-mlp."""
    return PRESETS["mnist-mlp"].architecture(SHAPE, 10)


def export(model: VIB, path: Path) -> None:
    """The layers that it predicts with at z = mu, for `bench._serving.peers.model`."""
    a = model.architecture
    assert not any(a.mean) and set(a.std) == {1.0}, "others do not normalise"  # noqa: PT018
    state = model.state_dict()
    first, mu = "representer.1", "representer.3"
    # The second layer gives mu and the log variance: predicting needs the first half of it.
    state |= {f"{mu}.{part}": state[f"{mu}.{part}"][: a.latent] for part in ("weight", "bias")}
    layers = (first, mu, "approximator.0", "approximator.2")
    named = {f"{layer}.{part}": state[f"{layer}.{part}"].clone()
             for layer in layers for part in ("weight", "bias")}  # fmt: skip
    torch.save(named, path)


def digit(number: int = 0) -> NDArray[np.float64]:
    """A handwritten digit of scikit-learn's, drawn out to 28 x 28 with a margin, in 0..1.

    Values are multiples of 1/255, as an application gets them from a picture.
    """
    small = torch.from_numpy(load_digits().images[number] / 16.0)[None, None]
    large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear")[0, 0].numpy()
    image = np.zeros((1, 28, 28))
    image[0, 4:24, 4:24] = np.round(large * 255) / 255
    return image
