"""VIB training (Eq. 2), in memory; exact retraining is the same on what remains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearning._adam import Adam
from unlearning._batches import AUGMENTATIONS, Augmentation, augment, epoch_batches
from unlearning._fields import check_choice, check_int, check_number, from_fields, to_fields
from unlearning._flat import FlatParameters
from unlearning._precision import Precision, forward, resolve
from unlearning._snapshot import Keeper, Moving, Resumption, Snapshot, Stateful, identity
from unlearning.architecture import Architecture
from unlearning.samples import Samples
from unlearning.vib import VIB, copy_model, initialise, vib_loss

_REPORT_EVERY = 50  # steps: a report reads the loss, which waits for the device


class Cancelled(Exception):
    """The caller's `should_stop` answered True; nothing was changed."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a VIB is trained. Raises ValueError naming the bad field.

    epochs: passes over the samples. batch: samples a step. lr: Adam's. beta: Eq. 2's weight
    of KL(p(z|x) || N(0, I)), averaged over latent dimensions. augment: "none", "shift" (one
    pixel) or "crop_flip". min_steps: more epochs when these are fewer steps.
    """

    epochs: int
    batch: int
    lr: float
    beta: float
    augment: Augmentation = "none"
    min_steps: int = 0

    def __post_init__(self) -> None:
        check_int("TrainingConfig", "epochs", self.epochs, 1)
        check_int("TrainingConfig", "batch", self.batch, 1)
        check_number("TrainingConfig", "lr", self.lr, above=0.0)
        check_number("TrainingConfig", "beta", self.beta, least=0.0)
        check_choice("TrainingConfig", "augment", self.augment, AUGMENTATIONS)
        check_int("TrainingConfig", "min_steps", self.min_steps, 0)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in JSON's own types."""
        return to_fields(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> TrainingConfig:
        """The configuration from decoded JSON; ValueError names the bad field."""
        return from_fields(cls, d)


@dataclass(frozen=True)
class TrainProgress:
    """Where a training stands: epoch of epochs, step of total_steps, the last step's loss."""

    epoch: int
    epochs: int
    step: int
    total_steps: int
    loss: float


def train(
    architecture: Architecture,
    samples: Samples,
    config: TrainingConfig,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: Precision = "auto",
    on_progress: Callable[[TrainProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
    snapshot_every: float = 10.0,
) -> VIB:
    """Train a fresh VIB on `samples`; exact retraining is this on the remaining ones.

    Returns the model in evaluation mode, on `device`. Same seed, same bits on the CPU.
    precision: of the arithmetic; "auto" is bfloat16 for convolutions where the processor has it.
    `on_progress` is called about every 50 steps and at the end, `should_stop` before each step,
    `on_snapshot` after a step, every `snapshot_every` seconds (0: each) and before it stops. With
    `resume`, one of those snapshots, the training goes on from it, to the same bits.

    Raises ValueError for no samples, images of another shape, labels outside the classes or a
    snapshot of another training, and Cancelled when `should_stop` answers True.
    """
    if len(samples) == 0:
        raise ValueError("training needs at least one sample")
    if samples.shape != architecture.input_shape:
        raise ValueError(
            f"images are {list(samples.shape)}, the architecture wants "
            f"{list(architecture.input_shape)}"
        )
    samples.check_classes(architecture.classes)
    samples = samples.to(device)
    model = initialise(architecture, seed, device).train()
    flat = FlatParameters(model)
    optimiser = Adam(flat.theta_D)
    order = torch.Generator().manual_seed(seed)
    noise = torch.Generator(device).manual_seed(seed)
    a_pass = len(epoch_batches(len(samples), config.batch, torch.Generator()))
    epochs = max(config.epochs, -(-config.min_steps // a_pass))
    total, done = epochs * a_pass, 0

    width = resolve(precision, architecture, device)
    asked = Resumption(resume, on_snapshot, snapshot_every)
    began = order.get_state()  # of the epoch: its order is drawn again from there
    parts: dict[str, Stateful] = {
        "weights": Moving(now=flat.theta_D),
        "model": Moving(**{k.replace(".", "_"): b for k, b in model.named_buffers()}),
        "update": optimiser,
        "epoch": Moving(began=began),
    }
    name = ""
    if asked.wanted:
        described: dict[str, Any] = {
            "architecture": architecture.to_dict(),
            "config": config.to_dict(),
        }
        described |= {"strategy": "train", "seed": seed, "precision": width}
        name = identity(described, samples)
    keeper = Keeper(asked, name, parts, {"order": order, "noise": noise})
    if (state := keeper.restore()) is not None:
        done = state["step"]
    for epoch in range(done // a_pass, epochs):
        if done % a_pass:
            begun = torch.Generator()
            begun.set_state(began)
            batches = epoch_batches(len(samples), config.batch, begun)
        else:
            began.copy_(order.get_state())
            batches = epoch_batches(len(samples), config.batch, order)
        for index in batches[done % a_pass :]:
            if should_stop is not None and should_stop():
                keeper.give(done, dict)
                raise Cancelled(f"training was cancelled at step {done} of {total}")
            index = index.to(device)
            images = augment(samples.images.index_select(0, index), config.augment, order)
            loss = _step(
                model, flat, optimiser, images, samples.labels[index], config, noise, width
            )
            done += 1
            if on_progress is not None and (done % _REPORT_EVERY == 0 or done == total):
                on_progress(TrainProgress(epoch + 1, epochs, done, total, float(loss)))
            keeper.offer(done, dict)
    return copy_model(model).eval()


def _step(
    model: VIB,
    flat: FlatParameters,
    optimiser: Adam,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
    noise: torch.Generator,
    precision: str,
) -> Tensor:
    drawn = torch.randn(
        len(labels), model.architecture.latent, generator=noise, device=labels.device
    )
    loss = vib_loss(forward(model, model.prepare(images), drawn, precision), labels, config.beta)
    flat.grad_D.zero_()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step(flat.grad_D, config.lr)
    return loss.detach()
