"""The Variational Information Bottleneck: representer p(z|x), approximator p(y|z).

Model and loss of Wang, Zhang, Tian, Yu, "Machine Unlearning via Representation Forgetting
With Parameter Self-Sharing", IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, Eq. 2.

Shapes: B samples in a batch, C classes, K dimensions of z, S draws of z.
x_B... prepared images; mu_BK, log_var_BK the representation; logits_BC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architecture import Architecture

__all__ = [
    "VIB",
    "Architecture",
    "Output",
    "Prediction",
    "copy_model",
    "export_arrays",
    "initialise",
    "kl_to_standard_normal",
    "load_arrays",
    "vib_loss",
]


class Output(NamedTuple):
    """What a forward pass gives: p(z|x) = N(mu, exp(log_var)) and the class scores at z."""

    mu_BK: Tensor  # noqa: N815
    log_var_BK: Tensor  # noqa: N815
    logits_BC: Tensor  # noqa: N815


@dataclass(frozen=True)
class Prediction:
    """Predictions for B images.

    probabilities_BC: rows sum to 1. label_B: the likeliest class. uncertainty_B: the
    predictive entropy in nats, 0 (certain) to log C (no idea).
    """

    probabilities_BC: Tensor  # noqa: N815
    label_B: Tensor  # noqa: N815
    uncertainty_B: Tensor  # noqa: N815


class VIB(nn.Module):
    """M(theta_r, theta_a): a representer p(z|x) followed by an approximator p(y|z)."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        a = architecture
        if a.kind == "mlp":
            self.representer: nn.Module = nn.Sequential(
                nn.Flatten(),
                nn.Linear(math.prod(a.input_shape), a.hidden),
                nn.ReLU(),
                nn.Linear(a.hidden, 2 * a.latent),
            )
        elif a.kind == "cnn":
            self.representer = _cnn(a.input_shape[0], a.hidden, 2 * a.latent)
        else:
            self.representer = _resnet18(a.input_shape[0], 2 * a.latent)
        self.approximator = nn.Sequential(
            nn.Linear(a.latent, a.approximator_hidden),
            nn.ReLU(),
            nn.Linear(a.approximator_hidden, a.classes),
        )
        # Not parameters of the model but of its input: kept in the architecture.
        self.register_buffer("mean", torch.empty(1, a.input_shape[0], 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, a.input_shape[0], 1, 1), persistent=False)
        self._normalises = any(a.mean) or any(std != 1.0 for std in a.std)
        self._set_normalisation()

    def _set_normalisation(self) -> None:
        if not self.mean.is_meta:
            self.mean.copy_(torch.tensor(self.architecture.mean).view(1, -1, 1, 1))
            self.std.copy_(torch.tensor(self.architecture.std).view(1, -1, 1, 1))

    @property
    def device(self) -> torch.device:
        """The device that the model's parameters are on."""
        return self.mean.device

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised float32 x_BCHW from uint8 images, or float ones in 0..1, [B, C, H, W].

        Raises ValueError for another shape or type.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.architecture.input_shape:
            raise ValueError(
                f"images must be [N, {', '.join(map(str, self.architecture.input_shape))}], "
                f"got {list(images.shape)}"
            )
        if self.architecture.kind != "mlp":  # convolutions are faster on channels last
            images = images.contiguous(memory_format=torch.channels_last)
        if images.dtype == torch.uint8:
            x = images.float().div_(255.0)
            # Two passes over a batch that would change no bit are a hundredth of a small step.
            return x.sub_(self.mean).div_(self.std) if self._normalises else x
        if not images.is_floating_point():
            raise ValueError(f"images must be uint8 or float in 0..1, got {images.dtype}")
        return (images.float() - self.mean) / self.std

    def forward(self, x: Tensor, noise_BK: Tensor | None = None) -> Output:  # noqa: N803
        """Outputs for prepared images: at z = mu + sigma * noise, or at z = mu without noise.

        In training mode with no noise given, noise is drawn from the global generator.
        """
        mu_BK, log_var_BK = self.representer(x).chunk(2, dim=1)  # noqa: N806
        if noise_BK is None and self.training:
            noise_BK = torch.randn_like(mu_BK)  # noqa: N806
        z_BK = mu_BK  # noqa: N806
        if noise_BK is not None:
            z_BK = mu_BK + torch.exp(0.5 * log_var_BK) * noise_BK  # noqa: N806
        return Output(mu_BK, log_var_BK, self.approximator(z_BK))

    @torch.no_grad()
    def logits(self, images: Tensor, chunk: int = 4096) -> Tensor:
        """Class scores [N, C] of images at z = mu, in evaluation mode, on the model's device."""
        was_training = self.training
        self.eval()
        try:
            parts = [
                self(self.prepare(part.to(self.device))).logits_BC
                for part in torch.split(images, chunk)
            ]
        finally:
            self.train(was_training)
        return torch.cat(parts)

    @torch.no_grad()
    def predict(self, images: Tensor, samples: int = 0) -> Prediction:
        """Classify uint8 or 0..1 float images [B, C, H, W].

        The label and probabilities are those at z = mu. The uncertainty is the entropy, in
        nats, of the mean prediction over `samples` draws of z ~ p(z|x) (at z = mu when 0).
        The draws use the same noise for every image, so that an answer does not depend on
        which other images share its batch.

        Raises ValueError for a wrong shape or type, NaN or infinite pixels, no image, or
        negative `samples`.
        """
        if samples < 0:
            raise ValueError(f"samples must be 0 or more, got {samples}")
        if images.ndim == 4 and images.shape[0] == 0:
            raise ValueError("no images: the batch is empty")
        images = images.to(self.device)
        x = self.prepare(images)
        if images.is_floating_point() and not bool(torch.isfinite(images).all()):
            raise ValueError("images hold NaN or infinite pixels")
        was_training = self.training
        self.eval()
        try:
            out = self(x)
            probabilities = functional.softmax(out.logits_BC, dim=1)
            mixed = probabilities
            if samples:
                noise = torch.randn(
                    samples, self.architecture.latent, generator=torch.Generator().manual_seed(0)
                ).to(self.device)
                sigma = torch.exp(0.5 * out.log_var_BK)
                z_SBK = out.mu_BK + sigma * noise.unsqueeze(1)  # noqa: N806
                mixed = functional.softmax(self.approximator(z_SBK), dim=2).mean(dim=0)
        finally:
            self.train(was_training)
        entropy = torch.special.entr(mixed).sum(dim=1)
        return Prediction(probabilities, probabilities.argmax(dim=1), entropy)


def kl_to_standard_normal(mu_BK: Tensor, log_var_BK: Tensor) -> Tensor:  # noqa: N803
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, averaged over the batch and over K.

    The average over K, not the sum, is what keeps Eq. 14's weights away from 0 (method notes).
    """
    return 0.5 * (mu_BK.square() + log_var_BK.exp() - log_var_BK - 1.0).mean()


def vib_loss(out: Output, labels_B: Tensor, beta: float) -> Tensor:  # noqa: N803
    """Eq. 2: -log p(y|z) + beta * KL(p(z|x) || N(0, I)), averaged over the batch."""
    return functional.cross_entropy(out.logits_BC, labels_B) + beta * kl_to_standard_normal(
        out.mu_BK, out.log_var_BK
    )


def initialise(architecture: Architecture, seed: int, device: str | torch.device = "cpu") -> VIB:
    """A model with fresh weights. Same seed, same bits; torch's global generator is untouched."""
    generator = torch.Generator().manual_seed(seed)
    model = _empty(architecture)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model.to(device)


def copy_model(model: VIB) -> VIB:
    """A copy that shares no storage with `model`."""
    copied = _empty(model.architecture)
    copied.load_state_dict(model.state_dict())
    return copied.to(model.device).train(model.training)


def export_arrays(model: VIB) -> dict[str, np.ndarray]:
    """The model's weights by name: what a checkpoint holds, beside `Architecture.to_dict`."""
    return {k: v.detach().cpu().numpy().copy() for k, v in model.state_dict().items()}


def load_arrays(architecture: Architecture, arrays: Mapping[str, np.ndarray]) -> VIB:
    """The model, in evaluation mode, that `export_arrays` wrote.

    Raises ValueError naming the array that is missing, unknown, misshapen, of a wrong type,
    or that holds NaN or infinite weights.
    """
    model = _empty(architecture)
    expected = model.state_dict()
    for name in expected:
        if name not in arrays:
            raise ValueError(f"weights: array {name!r} is missing")
    for name, array in arrays.items():
        if name not in expected:
            raise ValueError(f"weights: unknown array {name!r}")
        want = expected[name]
        if tuple(array.shape) != tuple(want.shape):
            raise ValueError(
                f"weights: {name!r} has shape {list(array.shape)}, expected {list(want.shape)}"
            )
        given = torch.from_numpy(np.array(array))
        if given.is_floating_point() != want.is_floating_point():
            raise ValueError(f"weights: {name!r} has type {array.dtype}, expected {want.dtype}")
        if not bool(torch.isfinite(given).all()):
            raise ValueError(f"weights: {name!r} holds NaN or infinite values")
        want.copy_(given)
    return model.eval()


def _empty(architecture: Architecture) -> VIB:
    """A model whose weights are still to be filled in: no random number is drawn."""
    with torch.device("meta"):
        model = VIB(architecture)
    # As `to_empty` does, whose detour over the meta device loads SymPy first.
    model._apply(  # type: ignore[no-untyped-call]
        lambda weights: torch.empty(weights.shape, dtype=weights.dtype)
    )
    model._set_normalisation()
    return model


def _resnet18(channels: int, outputs: int) -> nn.Module:
    """torchvision's ResNet-18 for small images: a 3 x 3 stem of stride 1, no max-pool."""
    from torchvision.models import resnet18  # slow to import, and only this kind needs it

    network: nn.Module = resnet18(num_classes=outputs)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def _cnn(channels: int, width: int, outputs: int) -> nn.Module:
    """Four 3 x 3 convolutions, each normalised; three halvings between them; the mean of it all."""
    layers: list[nn.Module] = []
    for wide, halved in ((width, True), (2 * width, True), (4 * width, True), (4 * width, False)):
        layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide)]
        layers += [nn.ReLU(), *([nn.MaxPool2d(2)] if halved else [])]
        channels = wide
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
    return nn.Sequential(*layers)
