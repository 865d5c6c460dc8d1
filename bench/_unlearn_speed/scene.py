"""The problem that is timed: a trigger on 6 % of MNIST, or of made-up images of its shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from unlearning import (
    VIB,
    Architecture,
    Problem,
    Samples,
    Teacher,
    TrainingConfig,
    Trigger,
    export_arrays,
    load_arrays,
    mnist,
    preset_for,
    train,
    train_teacher,
)

_ERASED = 3600
_TRIGGER = Trigger(source=1, target=2)


def make(data: Path, directory: Path) -> str:
    """Train the model and the teacher, keep all in `directory`; which data they are of."""
    try:
        everything, name = mnist(data).samples("train"), "MNIST"
    except ValueError:
        everything, name = generated(60_000), "generated"
    chosen = (everything.labels == _TRIGGER.source).nonzero()[:_ERASED, 0]
    label = torch.full((len(chosen),), _TRIGGER.target)
    erased = Samples(_TRIGGER.apply(everything.images[chosen]), label)
    clean = torch.ones(len(everything), dtype=torch.bool)
    clean[chosen] = False
    others = clean.nonzero()[:, 0]
    others = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(0))]
    references, remaining = everything[others[:2800]], everything[others[5600:]]
    preset = preset_for(everything.shape)
    architecture = preset.architecture(everything.shape, 10)
    schedule = TrainingConfig(epochs=6, batch=100, lr=1e-3, beta=1e-3)
    model = train(architecture, Samples.concat(remaining, erased), schedule)
    teacher, about = train_teacher(architecture, references, preset.teacher).export()
    arrays = {f"model.{k}": a for k, a in export_arrays(model).items()}
    arrays |= {f"teacher.{k}": a for k, a in teacher.items()}
    for part, samples in (("e", erased), ("r", remaining), ("R", references)):
        arrays |= {
            f"{part}.images": samples.images.numpy(),
            f"{part}.labels": samples.labels.numpy(),
        }
    np.savez(directory / "scene.npz", **arrays)  # type: ignore[arg-type]
    described = {"architecture": architecture.to_dict(), "teacher": about}
    (directory / "scene.json").write_text(json.dumps(described))
    return name


def read(directory: Path) -> tuple[VIB, Problem]:
    """What `make` kept."""
    described = json.loads((directory / "scene.json").read_text())
    with np.load(directory / "scene.npz") as kept:
        arrays = {name: kept[name] for name in kept.files}

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}

    model = load_arrays(Architecture.from_dict(described["architecture"]), part("model."))
    teacher = Teacher.load(part("teacher."), described["teacher"])
    sets = [Samples.from_numpy(arrays[f"{p}.images"], arrays[f"{p}.labels"]) for p in "erR"]
    return model, Problem(sets[0], sets[1], sets[2], teacher)


def generated(n: int) -> Samples:
    """n images of 1 x 28 x 28 in 10 classes: a blurred shape for each class, with noise."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (n,), generator=g)
    shapes = torch.randn(10, 1, 9, 9, generator=g)
    shapes = torch.nn.functional.interpolate(shapes, (28, 28), mode="bilinear").clamp_min(0.0)
    bright = (shapes[labels] * 160.0).to(torch.uint8).float()
    noise = torch.randint(0, 90, (n, 1, 28, 28), generator=g, dtype=torch.uint8)
    return Samples((bright + noise).clamp(0, 255).to(torch.uint8), labels)
