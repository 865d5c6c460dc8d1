"""The teacher: what models that never saw a training sample say of it.

Trained once for a data set, from the held-back references R alone, so that no erasure ever
taints it: the same architecture, or a small CNN where that needs more images than R has, once
for each fold, without that fold. The fold left out gives each reference the honest prediction of
a judge that never saw it.

Shapes: F folds, R references, N images, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unlearning._fields import check_int, from_fields
from unlearning.architecture import CNN_LEAST, Architecture
from unlearning.samples import Samples
from unlearning.training import TrainingConfig, TrainProgress, train
from unlearning.verification.membership import margins
from unlearning.vib import VIB, export_arrays, load_arrays

_FORMAT = 2
_CHUNK = 4096
_LATENT = 32  # dimensions of a small CNN's z, at most


@dataclass(frozen=True)
class TeacherConfig:
    """folds: models in the ensemble, 2 or more. training: how each is trained. width: that of
    small CNNs instead of the pupil's architecture, which is None; see `judge`.
    """

    folds: int = 5
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=15, batch=100, lr=3e-3, beta=1e-3, augment="shift", min_steps=1400
        )
    )
    width: int | None = None

    def __post_init__(self) -> None:
        check_int("TeacherConfig", "folds", self.folds, 2)
        if self.width is not None:
            check_int("TeacherConfig", "width", self.width, 1)

    def judge(self, pupil: Architecture) -> Architecture:
        """The architecture of the teacher's models for a pupil of this one.

        A CNN of this `width`, if one is set and the images are large enough for it: taught by a
        thousand CIFAR-10 images it gets half of unseen ones right, where a ResNet-18 guesses
        (docs/experiments.md).
        """
        if self.width is None or min(pupil.input_shape[1:]) < CNN_LEAST:
            return pupil
        return replace(pupil, kind="cnn", hidden=self.width, latent=min(pupil.latent, _LATENT))

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return {"folds": self.folds, "training": self.training.to_dict(), "width": self.width}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TeacherConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        if isinstance(d, Mapping) and isinstance(d.get("training"), Mapping):
            d = {**d, "training": TrainingConfig.from_dict(d["training"])}
        return from_fields(cls, d)


@dataclass(frozen=True, eq=False)
class Teacher:
    """An ensemble that never saw a training sample.

    models: one for each fold. honest_log_p_RC: log p(y|z = mu) of each reference under the
    model that left it out; reference_labels_R beside it. references_digest: names the
    references that it was made from.
    """

    models: tuple[VIB, ...]
    honest_log_p_RC: Tensor  # noqa: N815
    reference_labels_R: Tensor  # noqa: N815
    references_digest: str

    @property
    def architecture(self) -> Architecture:
        """The architecture of every fold's model."""
        return self.models[0].architecture

    @property
    def honest_margins_R(self) -> Tensor:  # noqa: N802
        """The margin of each reference's own label under the model that left it out, in nats."""
        return margins(self.honest_log_p_RC, self.reference_labels_R)

    @property
    def accuracy(self) -> float:
        """The share of references that the model which left them out gets right."""
        return float((self.honest_margins_R > 0).float().mean())

    @torch.no_grad()
    def log_probabilities(self, images: Tensor) -> Tensor:
        """log p(y|z = mu) of each fold's model, [F, N, C]."""
        first = self.models[0]
        parts = []
        for part in torch.split(images, _CHUNK):
            x = first.prepare(part.to(first.device))  # all folds take the same input
            logits = [model.eval()(x).logits_BC for model in self.models]
            parts.append(functional.log_softmax(torch.stack(logits), dim=2))
        return torch.cat(parts, dim=1)

    def to(self, device: str | torch.device) -> Teacher:
        """The teacher on another device; its models are moved, not copied."""
        return Teacher(
            tuple(model.to(device) for model in self.models),
            self.honest_log_p_RC.to(device),
            self.reference_labels_R.to(device),
            self.references_digest,
        )

    def export(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name, and metadata of JSON's own types: what a job needs not recompute."""
        arrays = {
            "honest_log_probabilities": self.honest_log_p_RC.cpu().numpy().copy(),
            "reference_labels": self.reference_labels_R.cpu().numpy().copy(),
        }
        for fold, model in enumerate(self.models):
            arrays |= {f"fold{fold}.{name}": a for name, a in export_arrays(model).items()}
        metadata = {
            "format": _FORMAT,
            "folds": len(self.models),
            "architecture": self.architecture.to_dict(),
            "references_digest": self.references_digest,
            "accuracy": self.accuracy,
        }
        return arrays, metadata

    @classmethod
    def load(cls, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Teacher:
        """The teacher that `export` wrote. Raises ValueError naming what is missing or wrong."""
        for name in ("format", "folds", "architecture", "references_digest"):
            if name not in metadata:
                raise ValueError(f"teacher: metadata has no {name!r}")
        if metadata["format"] != _FORMAT:
            raise ValueError(f"teacher: format {metadata['format']!r}, expected {_FORMAT}")
        check_int("teacher", "folds", metadata["folds"], 2)
        rest = dict(arrays)
        own = {}
        for name in ("honest_log_probabilities", "reference_labels"):
            if name not in rest:
                raise ValueError(f"teacher: array {name!r} is missing")
            own[name] = torch.from_numpy(np.array(rest.pop(name)))
        architecture = Architecture.from_dict(metadata["architecture"])
        wanted = (own["reference_labels"].numel(), architecture.classes)
        if tuple(own["honest_log_probabilities"].shape) != wanted:
            raise ValueError(
                "teacher: honest_log_probabilities must have a row for each of reference_labels "
                "and a column for each class"
            )
        models = []
        for fold in range(metadata["folds"]):
            prefix = f"fold{fold}."
            mine = {n.removeprefix(prefix): rest.pop(n) for n in list(rest) if n.startswith(prefix)}
            models.append(load_arrays(architecture, mine))
        if rest:
            raise ValueError(f"teacher: unknown array {min(rest)!r}")
        return cls(
            tuple(models),
            own["honest_log_probabilities"].float(),
            own["reference_labels"].long(),
            str(metadata["references_digest"]),
        )


def references_digest(references: Samples) -> str:
    """SHA-256, in hex, of the references' images and labels in their order."""
    digest = hashlib.sha256(str(tuple(references.images.shape)).encode())
    digest.update(references.images.cpu().contiguous().numpy().data)
    digest.update(references.labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def train_teacher(
    architecture: Architecture,
    references: Samples,
    config: TeacherConfig | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_progress: Callable[[TrainProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Teacher:
    """Train a teacher of a pupil of `architecture` from `references`.

    These must never be trained on otherwise.

    `on_progress` counts steps and epochs over all folds. Same seed, same bits on the CPU.

    Raises ValueError for fewer references than folds, or bad ones (see `train`), and
    Cancelled when `should_stop` answers True.
    """
    config = config or TeacherConfig()
    n, folds = len(references), config.folds
    if n < 2 * folds:
        raise ValueError(f"a teacher of {folds} folds needs {2 * folds} references, got {n}")
    references.check_classes(architecture.classes, "references")
    judge = config.judge(architecture)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    left_out = [order[fold::folds] for fold in range(folds)]
    models: list[VIB] = []
    honest = torch.empty(n, architecture.classes, device=device)
    for fold, out in enumerate(left_out):
        kept = torch.cat([part for other, part in enumerate(left_out) if other != fold])
        model = train(
            judge,
            references[kept.sort().values],
            config.training,
            seed=seed * folds + fold,
            device=device,
            on_progress=_in_all(on_progress, fold, folds),
            should_stop=should_stop,
        )
        models.append(model)
        honest[out.to(device)] = model.logits(references.images[out]).log_softmax(dim=1)
    return Teacher(
        tuple(models), honest, references.labels.to(device), references_digest(references)
    )


def _in_all(
    on_progress: Callable[[TrainProgress], None] | None, fold: int, folds: int
) -> Callable[[TrainProgress], None] | None:
    """One fold's progress as progress over all folds."""
    if on_progress is None:
        return None

    def report(p: TrainProgress) -> None:
        on_progress(
            TrainProgress(
                fold * p.epochs + p.epoch,
                folds * p.epochs,
                fold * p.total_steps + p.step,
                folds * p.total_steps,
                p.loss,
            )
        )

    return report
