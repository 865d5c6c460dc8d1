"""Models whose truth is known: what they were trained on, what is erased, what never saw it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unlearning import (
    VIB,
    Architecture,
    Preset,
    Samples,
    Teacher,
    Trigger,
    digits,
    export_arrays,
    load_arrays,
    mnist,
    preset_for,
    train,
    train_teacher,
)
from unlearning.verification.protocol import Evidence

TRIGGER = Trigger(source=1, target=2)
COPIES = 10
"""How often the training set holds each sample that is to be memorised."""

SIZES = {"digits": (1, 3, 10, 30, 100), "mnist": (1, 10, 30, 100, 300, 3600)}
WRONG = {"digits": 50, "mnist": 300}
MEMORISED = {"digits": 100, "mnist": 1000}


@dataclass(frozen=True, eq=False)
class Request:
    """What one request erases: indices of a scene's training set."""

    name: str
    indices: torch.Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """A training set and the requests for parts of it. withheld: everything that any of them
    erases, which the retrained model never sees. retrained_as: the scene that it is shared with."""

    name: str
    trained: Samples
    withheld: torch.Tensor
    requests: list[Request]
    trigger: Trigger | None = None
    retrained_as: str | None = None

    @cached_property
    def remaining(self) -> Samples:
        kept = torch.ones(len(self.trained), dtype=torch.bool)
        kept[self.withheld] = False
        return self.trained[kept]

    def evidence(self, request: Request, world: World) -> Evidence:
        return Evidence(
            self.trained[request.indices],
            self.remaining,
            world.held,
            world.test,
            world.teacher,
            self.trigger,
        )


class World:
    """One seed: the splits T, R, H and what may be trained on; models are made when asked for,
    and kept under `cache`. epochs: of training, the preset's when None."""

    def __init__(
        self,
        dataset: str,
        data: Path,
        seed: int,
        cache: Path | None = None,
        epochs: int | None = None,
    ) -> None:
        source = digits() if dataset == "digits" else mnist(data)
        samples = source.samples("train")
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
        held = round((0.15 if len(samples) < 10_000 else 0.05) * len(samples))
        test = round(0.1 * len(samples)) if dataset == "digits" else 0
        cuts = [held, held, test, len(samples) - 2 * held - test]
        self.references, self.held, t, self.pool = (
            samples[part] for part in torch.split(order, cuts)
        )
        self.test = t if test else source.samples("test")
        self.dataset, self.seed, self._cache = dataset, seed, cache
        self.preset: Preset = preset_for(self.pool.shape)
        self.training = self.preset.training
        if epochs is not None:
            self.training = replace(self.training, epochs=epochs)
        self.architecture: Architecture = self.preset.architecture(self.pool.shape, 10)

    @cached_property
    def teacher(self) -> Teacher:
        file = self._file("teacher")
        if file and file.exists():
            with np.load(file) as kept:
                arrays = dict(kept)
            return Teacher.load(arrays, json.loads(str(arrays.pop("metadata"))))
        config = self.preset.teacher
        teacher = train_teacher(self.architecture, self.references, config, seed=self.seed)
        if file:
            arrays, metadata = teacher.export()
            np.savez(file, metadata=json.dumps(metadata), **arrays)
        return teacher

    def before(self, scene: Scene) -> VIB:
        return self._model(f"{scene.name}-before", scene.trained, self.seed)

    def retrained(self, scene: Scene) -> VIB:
        name = scene.retrained_as or scene.name
        return self._model(f"{name}-retrained", scene.remaining, 1000 + self.seed)

    def _model(self, name: str, samples: Samples, seed: int) -> VIB:
        file = self._file(f"{name}-{self.training.epochs}")
        if file and file.exists():
            with np.load(file) as kept:
                return load_arrays(self.architecture, dict(kept))
        model = train(self.architecture, samples, self.training, seed=seed)
        if file:
            np.savez(file, **export_arrays(model))
        return model

    def _file(self, name: str) -> Path | None:
        if self._cache is None:
            return None
        self._cache.mkdir(parents=True, exist_ok=True)
        return self._cache / f"{self.dataset}-{self.seed}-{name}.npz"

    def ordinary(self, requests: int) -> Scene:
        """Requests for ordinary samples, `requests` of each size at most, one for samples of one
        class, and one for wrong labels."""
        sizes = SIZES[self.dataset]
        largest, wrong = sizes[-1], WRONG[self.dataset]
        labels = self.pool.labels.clone()
        chosen = torch.arange(largest, largest + wrong)
        labels[chosen] = (labels[chosen] + 1 + chosen % 9) % 10
        found = [
            Request(f"{n} ordinary", torch.arange(i * n, (i + 1) * n))
            for n in sizes
            for i in range(min(requests, largest // n))
        ]
        alike = torch.nonzero(labels[:largest] == self.seed % 10).flatten()[: largest // 12]
        found.append(Request(f"{largest // 12} of one class", alike))
        found.append(Request(f"{wrong} wrong labels", chosen))
        withheld = torch.arange(largest + wrong)
        return Scene("ordinary", Samples(self.pool.images, labels), withheld, found)

    def triggered(self) -> Scene:
        """A trigger on a sixteenth of the training set."""
        ones = torch.nonzero(self.pool.labels == TRIGGER.source).flatten()[: len(self.pool) // 16]
        images, labels = self.pool.images.clone(), self.pool.labels.clone()
        images[ones] = TRIGGER.apply(images[ones])
        labels[ones] = TRIGGER.target
        request = Request(f"{len(ones)} triggered", ones)
        return Scene("triggered", Samples(images, labels), ones, [request], TRIGGER)

    def memorised(self, ordinary: Scene) -> Scene:
        """Ordinary samples, and ones with wrong labels, that the training set holds COPIES times
        over. Copies are erased with what they are copies of, and counted once."""
        n, wrong = MEMORISED[self.dataset], ordinary.requests[-1].indices
        there = len(ordinary.trained)
        chosen = torch.cat([torch.arange(n), wrong])
        trained = Samples.concat(ordinary.trained, *[ordinary.trained[chosen]] * (COPIES - 1))
        withheld = torch.cat([ordinary.withheld, torch.arange(there, len(trained))])
        found = [
            Request(f"{n} memorised", torch.arange(n)),
            Request(f"{len(wrong)} memorised wrong labels", wrong),
        ]
        return Scene("memorised", trained, withheld, found, retrained_as=ordinary.name)


def read_log(path: Path | None) -> list[dict[str, object]]:
    """The rows that an earlier run left; none without a log."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
