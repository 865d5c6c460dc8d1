"""Model, training and teacher settings that fit a known kind of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unlearning.architecture import Architecture
from unlearning.teacher import TeacherConfig
from unlearning.training import TrainingConfig


@dataclass(frozen=True)
class Preset:
    """Everything but the data's own shape: see `architecture`, `training` and `teacher`."""

    name: str
    kind: Literal["mlp", "resnet18"]
    hidden: int
    latent: int
    approximator_hidden: int
    mean: float
    std: float
    training: TrainingConfig
    teacher: TeacherConfig

    def architecture(self, shape: tuple[int, int, int], classes: int) -> Architecture:
        """The architecture for images of `shape` (C, H, W) in `classes` classes."""
        return Architecture(
            kind=self.kind,
            input_shape=shape,
            classes=classes,
            hidden=self.hidden,
            latent=self.latent,
            approximator_hidden=self.approximator_hidden,
            mean=(self.mean,) * shape[0],
            std=(self.std,) * shape[0],
        )


def _teacher(training: TrainingConfig, lr: float, min_steps: int) -> TeacherConfig:
    return TeacherConfig(
        folds=5,
        training=TrainingConfig(
            epochs=15,
            batch=training.batch,
            lr=lr,
            beta=training.beta,
            augment="shift",
            min_steps=min_steps,
        ),
    )


def _presets() -> dict[str, Preset]:
    # Of a few thousand colour images a ResNet-18 learns nothing: its teacher is a small CNN.
    judges = TrainingConfig(
        epochs=60, batch=64, lr=3e-3, beta=1e-4, augment="crop_flip", min_steps=1000
    )
    mnist = TrainingConfig(epochs=20, batch=100, lr=1e-3, beta=1e-3)
    digits = TrainingConfig(epochs=40, batch=64, lr=1e-3, beta=1e-3)
    cifar = TrainingConfig(epochs=20, batch=100, lr=5e-4, beta=1e-4, augment="crop_flip")
    presets = (
        Preset("mnist-mlp", "mlp", 96, 49, 96, 0.0, 1.0, mnist, _teacher(mnist, 3e-3, 1400)),
        Preset("digits-mlp", "mlp", 96, 32, 64, 0.3, 0.38, digits, _teacher(digits, 3e-3, 600)),
        Preset(
            "cifar-resnet18",
            "resnet18",
            512,
            147,
            96,
            0.5,
            0.25,
            cifar,
            TeacherConfig(folds=5, training=judges, width=24),
        ),
    )
    return {preset.name: preset for preset in presets}


PRESETS: dict[str, Preset] = _presets()
"""The presets by name: mnist-mlp, digits-mlp, cifar-resnet18."""


def preset_for(shape: tuple[int, int, int]) -> Preset:
    """The preset that suits images of `shape` (C, H, W): colour, small grey, or other grey."""
    channels, height, width = shape
    if channels > 1:
        return PRESETS["cifar-resnet18"]
    return PRESETS["digits-mlp" if height * width <= 256 else "mnist-mlp"]
