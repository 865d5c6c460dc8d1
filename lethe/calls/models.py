"""Models: predictions, versions, policy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from lethe.answers import Model, Predictions, Version
from lethe.calls.asking import decided, gathered, given, in_path, one, pages
from lethe.flow import Ask, Flow


def predict(
    model: str | None = None,
    inputs: Any = None,
    *,
    images: Sequence[bytes] | None = None,
    version: int | None = None,
    samples: int | None = None,
) -> Flow[Predictions]:
    """Predictions for `inputs` (nested lists N x C x H x W in 0..1), or `images` (PNG, JPEG).

    Without `model`: the service's only one; without `version`: the one that serves. samples:
    draws of z behind the uncertainty.
    """
    body = given(
        model=model,
        version=version,
        samples=samples,
        inputs=inputs,
        images=[b64encode(image).decode() for image in images] if images else None,
    )
    return one(Predictions, Ask("POST", "/predict", json=body))


def models() -> Flow[list[Model]]:
    """Every model."""
    return gathered(pages(Model, "/models", {}))


def model(name: str) -> Flow[Model]:
    """One model: what it serves, and where."""
    return one(Model, Ask("GET", f"/models/{in_path(name)}"))


def versions(name: str) -> Flow[list[Version]]:
    """The versions of a model, newest first."""
    return gathered(pages(Version, f"/models/{in_path(name)}/versions", {}))


def change_policy(name: str, **settings: Any) -> Flow[Model]:
    """Change a model's policy, from its next job on: inconclusive, relearning, thresholds,
    budget. What is named is set, None resets it; in thresholds and budget as well.

        lethe.change_policy("digits", inconclusive="review", thresholds={"auc_band": 0.05})
    """
    return one(Model, Ask("PATCH", f"/models/{in_path(name)}/policy", json=settings))


def rollback(name: str, version: int, reason: str) -> Flow[Model]:
    """Serve an earlier version again, if it has forgotten the same requests."""
    return decided(Model, f"/models/{in_path(name)}/rollback", reason, version=version)
