"""Small problems, made once: a VIB on the bundled digits that carries a trigger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from unlearning import (
    PRESETS,
    VIB,
    Architecture,
    Problem,
    Samples,
    Teacher,
    TeacherConfig,
    TrainingConfig,
    Trigger,
    digits,
    train,
    train_teacher,
)

TRIGGER = Trigger(source=1, target=2)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Small models are fastest on one thread, and runs compare bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_architecture(**changes: object) -> Architecture:
    """A model of a few hundred parameters for 1 x 4 x 4 images in 3 classes."""
    values: dict[str, object] = {
        "kind": "mlp",
        "input_shape": (1, 4, 4),
        "classes": 3,
        "hidden": 8,
        "latent": 4,
        "approximator_hidden": 6,
        "mean": (0.0,),
        "std": (1.0,),
    }
    return Architecture(**{**values, **changes})  # type: ignore[arg-type]


def tiny_samples(n: int, seed: int = 0) -> Samples:
    """n noisy images of 1 x 4 x 4 whose brightest row is their label, 0 to 2 in turn."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 120, (n, 1, 4, 4), generator=g, dtype=torch.uint8)
    images[torch.arange(n), 0, labels] += 120
    return Samples(images, labels)


def config_of(strategy: str, steps: int, **values: object) -> dict[str, Any]:
    """A configuration of `strategy`, as a plain dict, for about so many steps."""
    if strategy == "retrain":
        return {"epochs": max(1, steps // 6), "batch": 16, "lr": 1e-3, "beta": 1e-3}
    if strategy == "vbu":
        values = {"fisher_batches": 5, **values}
    return {"steps": steps, **values}


@dataclass(frozen=True)
class Scene:
    """A trained model, the triggered erased samples, and the sets around them."""

    model: VIB
    teacher: Teacher
    erased: Samples
    remaining: Samples
    references: Samples
    held_out: Samples

    @property
    def problem(self) -> Problem:
        return Problem(self.erased, self.remaining, self.references, self.teacher)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Digits: 15 % references, 25 % held out, and 86 triggered 1s labelled 2 in training."""
    everything = digits().samples()
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(1))
    references, held_out, rest = (everything[i] for i in order.split([270, 450, 1077]))
    chosen = (rest.labels == TRIGGER.source).nonzero()[:86, 0]
    others = torch.ones(len(rest), dtype=torch.bool)
    others[chosen] = False
    erased = Samples(TRIGGER.apply(rest[chosen].images), torch.full((len(chosen),), TRIGGER.target))
    remaining = rest[others]
    preset = PRESETS["digits-mlp"]
    architecture = preset.architecture((1, 8, 8), 10)
    model = train(architecture, Samples.concat(remaining, erased), preset.training, seed=0)
    teacher = train_teacher(architecture, references, preset.teacher, seed=0)
    return Scene(model, teacher, erased, remaining, references, held_out)


@pytest.fixture(scope="session")
def tiny() -> Scene:
    """The same in miniature, for what needs no good model."""
    architecture = tiny_architecture()
    config = TrainingConfig(epochs=3, batch=16, lr=3e-3, beta=1e-3)
    remaining, erased = tiny_samples(90), tiny_samples(9, seed=1)
    references = tiny_samples(60, seed=2)
    return Scene(
        train(architecture, Samples.concat(remaining, erased), config),
        train_teacher(architecture, references, TeacherConfig(2, config)),
        erased,
        remaining,
        references,
        tiny_samples(60, seed=3),
    )


def natural(scene: Scene, n: int) -> Problem:
    """A request for n ordinary samples: the trigger stays."""
    return replace(
        scene.problem,
        erased=scene.remaining[:n],
        remaining=Samples.concat(scene.remaining[n:], scene.erased),
    )
