"""A VIB that was trained elsewhere becomes a model: checked, published, and able to forget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from core import datasets, drift, late, registry
from core.backend import Backend
from core.checkpoints import CheckpointCorrupt, deserialise
from core.db import Transaction
from core.errors import Conflict, Invalid
from core.names import check_name
from core.records import Dataset, ErasureRequest, Model
from unlearning import (
    PRESETS,
    VIB,
    Architecture,
    Preset,
    Samples,
    TrainProgress,
    accuracy,
    load_arrays,
    preset_for,
)
from unlearning.verification.label_gates import clopper_pearson
from worker.engine import Engine, choose_device
from worker.teaching import current_teacher
from worker.train import OnProgress, figures_of, load_split


def import_model(
    backend: Backend,
    name: str,
    file: Path,
    dataset_name: str,
    *,
    preset: str | None = None,
    trained_at: datetime | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Publish the VIB in a safetensors file as version 1 of a new model.

    The architecture is the JSON text under `architecture` in the file's metadata (as in Lethe's
    own checkpoints), or the preset's for the data set's shape. The weights are taken to have
    seen every training sample. trained_at: when their training read its samples.

    Returns model, version, digest, state and metrics. Raises `NotFound`, `Conflict` (the name
    is taken; the weights may remember what was erased) and `Invalid` (what is wrong with the
    file, or that it classifies no better than chance). Killed before its end, it has published
    or has left nothing; a teacher that is missing is made by the first job.
    """
    say = on_progress or (lambda _what, _share: None)
    with backend.db.reading() as session:
        dataset = datasets.dataset_named(session, dataset_name)
    with backend.db.transaction() as tx:  # before anything slow; the end looks again
        _check_free(tx, name)
        _check_forgotten(tx, dataset, trained_at)
    engine = Engine(backend, choose_device(device))
    say("reading", 0.0)
    data = file.read_bytes()
    vib, chosen = _read(data, file, dataset, preset)
    vib = vib.to(engine.device)
    say("measuring", 0.1)
    _check_skill(vib, load_split(backend, dataset, "test"), file)
    metrics = figures_of(backend, dataset, vib) | {
        "origin": f"imported: trained on {dataset.name}",
        "file_sha256": hashlib.sha256(data).hexdigest(),
    }
    trained = backend.samples.count(dataset.id, "train")
    stored = engine.save_model(vib)
    with backend.db.transaction() as tx:
        late.lock_models(tx, dataset)
        _check_forgotten(tx, dataset, trained_at)
        model = registry.create_model(
            tx,
            name,
            dataset,
            architecture=vib.architecture.to_dict(),
            training=chosen.training.to_dict() | {"preset": chosen.name},
        )
        metrics["drift"] = drift.opened(trained=trained, below=dataset.next_key, at=tx.now)
        version = registry.add_version(tx, model, digest=stored.digest, metrics=metrics)
        registry.publish(tx, version)
        tx.record("version", version.id, "imported", file=metrics["file_sha256"])

    def teaching(progress: TrainProgress) -> None:
        say("teaching", 0.2 + 0.78 * progress.step / progress.total_steps)

    references = load_split(backend, dataset, "reference")
    current_teacher(engine, model, references, seed=dataset.seed, on_progress=teaching)
    say("done", 1.0)
    return {
        "model": model.name,
        "version": version.number,
        "digest": version.digest,
        "state": version.state,
        "metrics": metrics,
    }


def _check_free(tx: Transaction, name: str) -> None:
    check_name(name)
    if tx.session.scalars(select(Model.id).where(Model.name == name)).first() is not None:
        raise Conflict(f"there is a model {name!r} already; choose another name")


def _check_forgotten(tx: Transaction, dataset: Dataset, trained_at: datetime | None) -> None:
    """Weights trained before an erasure remember it, and no job would make them forget."""
    waiting = datasets.open_requests(tx.session, dataset.id)
    if waiting:
        raise Conflict(
            f"erasure request {waiting[0].id} of data set {dataset.name!r} is not completed, and "
            "these weights may have seen its samples; train without them and import afterwards"
        )
    last = tx.session.scalar(
        select(func.max(ErasureRequest.completed_at)).where(
            ErasureRequest.dataset_id == dataset.id, ErasureRequest.outcome == "erased"
        )
    )
    if last is not None and (trained_at is None or trained_at <= last):
        raise Conflict(
            f"samples of data set {dataset.name!r} were erased, last {last:%Y-%m-%dT%H:%M:%SZ}; "
            "weights trained before that remember them. Say with --trained-at when these were "
            "trained, if it was later"
        )


def _read(data: bytes, file: Path, dataset: Dataset, preset: str | None) -> tuple[VIB, Preset]:
    try:
        checkpoint = deserialise("", data)
    except CheckpointCorrupt as error:
        raise Invalid(f"{file} is not a safetensors file ({error.__cause__})") from None
    shape = (dataset.shape[0], dataset.shape[1], dataset.shape[2])
    if preset is not None and preset not in PRESETS:
        raise Invalid(f"unknown preset {preset!r}; use {', '.join(PRESETS)}")
    chosen = PRESETS[preset] if preset else preset_for(shape)
    text = checkpoint.metadata.get("architecture")
    if text is not None:
        architecture = _architecture(text, file)
    elif preset is not None:
        architecture = chosen.architecture(shape, len(dataset.classes))
    else:
        raise Invalid(
            f"{file} says nothing of its architecture: put it into the file's metadata, as "
            f"`architecture` in JSON, or name a preset with --preset ({', '.join(PRESETS)})"
        )
    if architecture.input_shape != shape:
        raise Invalid(
            f"{file} is for images of {_size(architecture.input_shape)}, but those of data set "
            f"{dataset.name!r} are {_size(shape)} (channels x height x width)"
        )
    if architecture.classes != len(dataset.classes):
        raise Invalid(
            f"{file} tells {architecture.classes} classes apart, but data set {dataset.name!r} "
            f"has {len(dataset.classes)}"
        )
    _check_size(architecture, checkpoint.arrays, file)
    try:
        return load_arrays(architecture, checkpoint.arrays), chosen
    except ValueError as error:
        raise Invalid(f"{file}: {error}") from None


def _architecture(text: str, file: Path) -> Architecture:
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004  # it is the file that is wrong
        return Architecture.from_dict(found)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{file}: the architecture in its metadata is wrong: {error}") from None


def _check_size(architecture: Architecture, arrays: Mapping[str, Any], file: Path) -> None:
    """Refuse a description of gigabytes before anything of its size is allocated."""
    widest = max(architecture.hidden, architecture.latent, architecture.approximator_hidden)
    if widest > sum(np.size(array) for array in arrays.values()):
        raise Invalid(f"{file} describes a layer of {widest} units but holds fewer weights")


def _check_skill(vib: VIB, test: Samples, file: Path) -> None:
    """The accuracy on T must exceed that of always naming its most frequent class.

    One-sided at 95 %, by Clopper and Pearson (Biometrika 1934).
    """
    right = round(accuracy(vib, test) * len(test))
    chance = float(test.labels.bincount().max()) / len(test)
    low, _ = clopper_pearson(right, len(test), 0.90)
    if low <= chance:
        raise Invalid(
            f"{file} is right on {right} of {len(test)} test samples, no better than chance "
            f"({chance:.1%}): are these weights of this data set, with its order of classes and "
            "the normalisation that the architecture names?"
        )


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
