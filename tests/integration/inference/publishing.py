"""Publishing versions as a job does, for loaders to follow."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from core import registry
from core.backend import Backend
from core.records import Version


def publish(backend: Backend, scale: float = 0.5, *, published: bool = True) -> Version:
    """A new version of "digits": the serving one with its weights scaled; else a candidate."""
    with backend.db.reading() as session:
        before = registry.serving(session, registry.model_named(session, "digits").id)
    assert before is not None
    checkpoint = backend.checkpoints.read(before.digest)
    arrays = {name: (a * scale).astype(np.float32) for name, a in checkpoint.arrays.items()}
    stored = backend.checkpoints.write(arrays, checkpoint.metadata)
    with backend.db.transaction() as tx:
        model = registry.lock_model(tx, before.model_id)
        version = registry.add_version(tx, model, digest=stored.digest, metrics={}, parent=before)
        if published:
            registry.publish(tx, version)
    return version


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it; fails when it does not come about."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
