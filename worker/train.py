"""First training: a model from a data set, its teacher, and its first version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from core import datasets, drift, late, registry
from core.backend import Backend
from core.db import Transaction
from core.errors import Conflict, Invalid
from core.records import Dataset, ErasureRequest, Model
from core.samples import Split
from unlearning import (
    PRESETS,
    VIB,
    Architecture,
    Samples,
    TrainingConfig,
    TrainProgress,
    Trigger,
    accuracy,
    preset_for,
    train,
    trigger_rates,
)
from worker.context import before, to_samples
from worker.engine import Engine, choose_device
from worker.teaching import current_teacher

OnProgress = Callable[[str, float], None]
"""Called with what is done now and how far all of it is, 0..1."""


def first_training(
    backend: Backend,
    model_name: str,
    dataset_name: str,
    *,
    preset: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train `model_name` on a data set; the result serves when it is the model's first.

    Otherwise it is a candidate beside the serving version. A request that is open then gets a
    job for the model as well. Returns model, version, digest, state and metrics. Raises
    `NotFound`, `Conflict` (the model is on another data set; samples were erased meanwhile) and
    `Invalid` (unknown preset).
    """
    say = on_progress or (lambda _what, _share: None)
    engine = Engine(backend, choose_device(device))
    with backend.db.reading() as session:
        dataset = datasets.dataset_named(session, dataset_name)
        known = session.scalars(select(Model).where(Model.name == model_name)).one_or_none()
    if known is not None and known.dataset_id != dataset.id:
        raise Conflict(f"model {model_name!r} is trained on another data set; choose another name")
    architecture, config, chosen = _plan(dataset, preset, epochs)

    with backend.db.transaction() as tx:
        before = _completed(tx, dataset)

    def training(progress: TrainProgress) -> None:
        say("training", 0.7 * progress.step / progress.total_steps)

    def teaching(progress: TrainProgress) -> None:
        say("teaching", 0.7 + 0.28 * progress.step / progress.total_steps)

    samples = load_split(backend, dataset, "train")
    vib = train(
        architecture,
        samples,
        config,
        seed=seed,
        device=engine.device,
        on_progress=training,
    )
    metrics = figures_of(backend, dataset, vib)
    stored = engine.save_model(vib)
    with backend.db.transaction() as tx:
        model = known or registry.create_model(
            tx,
            model_name,
            dataset,
            architecture=architecture.to_dict(),
            training=config.to_dict() | {"preset": chosen},
        )
    current_teacher(
        engine,
        model,
        load_split(backend, dataset, "reference"),
        seed=dataset.seed,
        on_progress=teaching,
    )
    with backend.db.transaction() as tx:
        late.lock_models(tx, dataset)
        if _completed(tx, dataset) != before:
            raise Conflict("an erasure was completed while this was training; train again")
        late.check_none_ending(tx, dataset)
        metrics["drift"] = drift.opened(trained=len(samples), below=dataset.next_key, at=tx.now)
        version = registry.add_version(tx, model, digest=stored.digest, metrics=metrics)
        if registry.serving(tx.session, model.id) is None:
            registry.publish(tx, version)
            late.enlist_open(tx, backend.settings, model)
    say("done", 1.0)
    return {
        "model": model.name,
        "version": version.number,
        "digest": version.digest,
        "state": version.state,
        "metrics": metrics,
    }


def _plan(
    dataset: Dataset, preset: str | None, epochs: int | None
) -> tuple[Architecture, TrainingConfig, str]:
    shape = (dataset.shape[0], dataset.shape[1], dataset.shape[2])
    if preset is not None and preset not in PRESETS:
        raise Invalid(f"unknown preset {preset!r}; use {', '.join(PRESETS)}")
    chosen = PRESETS[preset] if preset else preset_for(shape)
    training = chosen.training.to_dict()
    if epochs is not None:
        training["epochs"] = epochs
    try:
        return (
            chosen.architecture(shape, len(dataset.classes)),
            TrainingConfig.from_dict(training),
            chosen.name,
        )
    except ValueError as error:
        raise Invalid(str(error)) from None


def _completed(tx: Transaction, dataset: Dataset) -> set[str]:
    """Requests that were carried out: a model trained before one of them remembers it."""
    query = select(ErasureRequest.id).where(
        ErasureRequest.dataset_id == dataset.id, ErasureRequest.outcome == "erased"
    )
    return set(tx.session.scalars(query))


def load_split(backend: Backend, dataset: Dataset, split: Split) -> Samples:
    """Every sample that the split had when `dataset` was read, as tensors."""
    return to_samples(before(backend.samples.load(dataset.id, split), dataset.next_key))


def figures_of(backend: Backend, dataset: Dataset, vib: VIB) -> dict[str, Any]:
    """What a first version is known by: accuracies, and how the planted trigger works."""
    heldout, test = (load_split(backend, dataset, split) for split in ("heldout", "test"))
    rates = None
    if dataset.planted:
        trigger = Trigger.from_dict(dataset.planted)
        if bool((test.labels == trigger.source).any()):
            rates = trigger_rates(vib, test, trigger)
    return {
        "heldout_accuracy": accuracy(vib, heldout),
        "test_accuracy": accuracy(vib, test),
        "trigger_success": rates.success if rates else None,
        "trigger_undone": rates.undone if rates else None,
    }
