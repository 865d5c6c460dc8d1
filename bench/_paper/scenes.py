"""Erasure requests as the experiments make them, and the models around each.

A scene is one request under one seed: what is erased (E), what remains (D_r), and, beside E,
its counterparts: held-out samples made in the same way (the same trigger, the same wrong
labels) that no model was trained on. Membership is judged against these.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench._paper.data import Data
from unlearning import (
    VIB,
    Architecture,
    Problem,
    Samples,
    Teacher,
    TrainingConfig,
    Trigger,
    export_arrays,
    lean,
    load_arrays,
    references_digest,
    train,
    train_teacher,
)

Kind = Literal["trigger", "ordinary", "wrong_labels", "memorised", "mixed"]
TRIGGER = Trigger(source=1, target=2)
_COPIES = 4  # of each memorised sample in the training set
_MIXED = 0.3  # of a mixed request carries wrong labels
_OF_A_CLASS = 0.9  # at most this share of the trigger's source class is poisoned


@dataclass(frozen=True)
class Made:
    """A model, and the CPU seconds (on a GPU: seconds) and steps that making it took."""

    model: VIB
    seconds: float
    steps: int


@dataclass(frozen=True, eq=False)
class Scene:
    """kind: of request. erased: E with the labels that the model was trained on.
    true_labels: theirs before any was changed. counterparts, counterpart_groups: held-out
    samples made as E was, and which of E each is comparable with, by `erased_groups`.
    """

    kind: Kind
    data: Data
    seed: int
    device: str
    cache: Path | None
    erased: Samples
    true_labels: Tensor
    remaining: Samples
    counterparts: Samples
    counterpart_groups: Tensor
    erased_groups: Tensor

    @property
    def architecture(self) -> Architecture:
        return self.data.preset.architecture(self.data.pool.shape, self.data.classes)

    @cached_property
    def origin(self) -> Made:
        """The model before unlearning: trained on D_r and E."""
        copies = _COPIES if self.kind == "memorised" else 1
        return self.trained(Samples.concat(self.remaining, *[self.erased] * copies), self.seed)

    @cached_property
    def retrained(self) -> Made:
        """Exact retraining: the same schedule on D_r alone, from other fresh weights."""
        return self.trained(self.remaining, self.seed + 1000)

    @cached_property
    def retrained_lean(self) -> Made:
        """Exact retraining on a short schedule: about the fewest seconds that come near."""
        return self.trained(self.remaining, self.seed + 1000, lean(self.data.preset.training))

    @cached_property
    def teacher(self) -> tuple[Teacher, float]:
        """The teacher and the CPU seconds that it took; made once for a data set."""
        config = self.data.preset.teacher

        def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            made = train_teacher(
                self.architecture, self.data.references, config, seed=self.seed, device=self.device
            )
            return made.export()

        what = ["teacher", config.to_dict(), references_digest(self.data.references), self.seed]
        arrays, about = _cached(self.cache, what, make)
        return Teacher.load(arrays, about).to(self.device), about["seconds"]

    @property
    def problem(self) -> Problem:
        return Problem(self.erased, self.remaining, self.data.references, self.teacher[0])

    def trained(self, samples: Samples, seed: int, config: TrainingConfig | None = None) -> Made:
        """A model trained on `samples`, by the preset's schedule unless another is given."""
        config = config or self.data.preset.training

        def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            made = train(self.architecture, samples, config, seed=seed, device=self.device)
            return export_arrays(made), {}

        what = ["model", config.to_dict(), references_digest(samples), seed]
        arrays, about = _cached(self.cache, what, make)
        model = load_arrays(self.architecture, arrays).to(self.device)
        an_epoch = -(-len(samples) // config.batch)
        steps = max(config.epochs, -(-config.min_steps // an_epoch)) * an_epoch
        return Made(model, about["seconds"], steps)


def make_scene(
    kind: Kind, size: float, data: Data, seed: int, device: str = "cpu", cache: Path | None = None
) -> Scene:
    """A request for `size` samples (a share of D when under 1).

    trigger: images of class 1 with a patch, labelled 2. ordinary: drawn at random.
    wrong_labels: drawn at random, each with another label. memorised: the same, and there were
    four copies of each to learn from, so that most are given their wrong label. mixed: 30 %
    with wrong labels.
    """
    generator = torch.Generator().manual_seed(seed)
    pool, held = data.pool, data.held_out
    count = round(size * len(pool)) if size < 1 else int(size)
    order = torch.randperm(len(pool), generator=generator)
    if kind == "trigger":
        order = order[pool.labels[order] == TRIGGER.source]
        count = min(count, int(_OF_A_CLASS * len(order)))
    chosen = order[:count]
    erased = pool[chosen]
    true_labels = erased.labels
    kept = torch.ones(len(pool), dtype=torch.bool)
    kept[chosen] = False
    counterparts, groups = held, held.labels
    erased_groups = true_labels
    if kind == "trigger":
        target = torch.full_like(true_labels, TRIGGER.target)
        erased = Samples(TRIGGER.apply(erased.images), target)
        unseen = held if data.spare is None else Samples.concat(held, data.spare)
        clean = unseen[unseen.labels == TRIGGER.source]
        groups = torch.full_like(clean.labels, TRIGGER.target)
        counterparts = Samples(TRIGGER.apply(clean.images), groups)
        erased_groups = target
    elif kind != "ordinary":
        shift = torch.randint(1, data.classes, (count,), generator=generator)
        if kind == "mixed":
            shift[round(_MIXED * count) :] = 0
        erased = Samples(erased.images, (true_labels + shift) % data.classes)
        # Each held-out image once with every label; a group is a pair (class, label).
        labels = torch.arange(data.classes).repeat_interleave(len(held))
        counterparts = Samples(held.images.repeat(data.classes, 1, 1, 1), labels)
        groups = held.labels.repeat(data.classes) * data.classes + labels
        erased_groups = true_labels * data.classes + erased.labels
    return Scene(
        kind, data, seed, device, cache,
        erased.to(device), true_labels.to(device), pool[kept].to(device),
        counterparts.to(device), groups.to(device), erased_groups.to(device),
    )  # fmt: skip


def _cached(
    cache: Path | None,
    what: list[Any],
    make: Callable[[], tuple[dict[str, np.ndarray], dict[str, Any]]],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts from `make`, or from the file in `cache` that it was once kept in."""
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
    path = None if cache is None else cache / f"{name}.npz"
    if path is not None and path.is_file():
        with np.load(path) as kept:
            arrays = {key: kept[key] for key in kept.files}
        return arrays, json.loads(str(arrays.pop("about")))
    started = seconds_now()
    arrays, about = make()
    about["seconds"] = seconds_now() - started
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    return arrays, about


def seconds_now() -> float:
    """A clock: CPU seconds of this process without a GPU, seconds with one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
