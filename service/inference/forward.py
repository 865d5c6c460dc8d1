"""Forward passes for serving: images in, probabilities and doubt out, nothing kept for training.

`prepared` chooses by what a version is and where it runs. A small network on a CPU is computed
with NumPy: PyTorch's calls take longer than its arithmetic (19 us against 69 us for one 28 x 28
image through mnist-mlp on a core of an AMD EPYC). Everything else is PyTorch's, on shapes that
were warmed up.

Shapes: N images, C classes, K dimensions of z, S draws of z.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from service.schemas.predictions import MOST_SAMPLES
from unlearning import VIB

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Layer = tuple[Floats, Floats]

SHAPES = (1, 2, 4, 8, 16, 32, 64)
"""Sizes of a batch; PyTorch's passes are warmed up for each, others are padded to the next."""

MOST_ON_CPU = 16
"""Images of one pass through convolutions on a CPU: more take longer and are no faster each."""


class Outputs(NamedTuple):
    """probabilities: float32 [N, C], at z = mu. uncertainty, information: float32 [N], in nats.

    Without draws of z, uncertainty is the entropy of the probabilities and information is None.
    With S draws, uncertainty is the predictive entropy H[mean_s p(y|z_s)] and information its
    part that comes from not knowing z, the mutual information I(y; z|x) =
    H[mean_s p(y|z_s)] - mean_s H[p(y|z_s)] (Houlsby et al. 2011, arXiv 1112.5745, Eq. 2).
    """

    probabilities: Floats
    uncertainty: Floats
    information: Floats | None


class Forward(Protocol):
    """A version, ready to answer.

    seconds: what a pass over eight images takes. most: images of different calls in one pass.
    """

    seconds: float
    most: int

    def __call__(self, images: Floats, samples: int) -> Outputs:
        """Classify float32 images in 0..1 [N, C, H, W], N >= 1, with `samples` draws of z."""
        ...


def prepared(vib: VIB, device: str) -> Forward:
    """The forward pass of `vib` on this device ("cpu", "cuda:N"), warmed up and timed."""
    forward: Forward
    if vib.architecture.kind == "mlp" and device == "cpu":
        forward = Dense(vib)
    else:
        forward = Network(vib.to(device))
    shape = vib.architecture.input_shape
    for rows in SHAPES:
        if rows <= forward.most:
            forward(np.zeros((rows, *shape), np.float32), 0)
    forward(np.zeros((1, *shape), np.float32), 1)
    images = np.zeros((8, *shape), np.float32)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        forward(images, 0)
        times.append(time.perf_counter() - began)
    forward.seconds = min(times)
    return forward


def _noise(latent: int) -> Tensor:
    """The same draws as `VIB.predict`'s, and for every image: an answer depends on no other."""
    return torch.randn(MOST_SAMPLES, latent, generator=torch.Generator().manual_seed(0))


class Dense:
    """An MLP in NumPy.

    What is linear and follows one another is one matrix: the images' normalisation and the
    representer's first layer; mu and the approximator's first layer, at z = mu.
    """

    seconds = 0.0
    most = SHAPES[-1]

    def __init__(self, vib: VIB) -> None:
        a = vib.architecture
        pixels = a.input_shape[1] * a.input_shape[2]
        mean, std = np.repeat(np.asarray(a.mean), pixels), np.repeat(np.asarray(a.std), pixels)
        weight, bias = _layer(vib.representer, 1)
        folded = weight / std[:, None]
        self._hidden = _single(folded, bias - mean @ folded)
        weight, bias = _layer(vib.representer, 3)
        self._mu = _single(weight[:, : a.latent], bias[: a.latent])
        self._log_var = _single(weight[:, a.latent :], bias[a.latent :])
        inner, outer = _layer(vib.approximator, 0), _layer(vib.approximator, 2)
        self._from_z, self._scores = _single(*inner), _single(*outer)
        self._from_hidden = _single(
            weight[:, : a.latent] @ inner[0], bias[: a.latent] @ inner[0] + inner[1]
        )
        self._noise = _noise(a.latent).numpy()

    def __call__(self, images: Floats, samples: int) -> Outputs:
        """See `Forward`."""
        hidden = _affine(images.reshape(len(images), -1), self._hidden)
        np.maximum(hidden, 0.0, out=hidden)
        probabilities, entropy = self._classified(_affine(hidden, self._from_hidden))
        if not samples:
            return Outputs(probabilities, entropy, None)
        sigma = np.exp(0.5 * _affine(hidden, self._log_var))
        z = _affine(hidden, self._mu) + sigma * self._noise[:samples, None]  # [S, N, K]
        drawn, each = self._classified(_affine(z.reshape(-1, z.shape[2]), self._from_z))
        mixed = drawn.reshape(samples, len(images), -1).mean(axis=0)
        uncertainty = -(mixed * np.log(np.maximum(mixed, _TINY))).sum(axis=1)
        information = uncertainty - each.reshape(samples, -1).mean(axis=0)
        return Outputs(probabilities, uncertainty, np.maximum(information, 0.0))

    def _classified(self, inner: Floats) -> tuple[Floats, Floats]:
        """Probabilities and their entropy, from the approximator's hidden layer."""
        np.maximum(inner, 0.0, out=inner)
        scores = _affine(inner, self._scores)
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        scores *= probabilities
        return probabilities, np.log(total[:, 0]) - scores.sum(axis=1)


_TINY = np.finfo(np.float32).tiny


def _layer(network: nn.Module, at: int) -> tuple[Doubles, Doubles]:
    """Weight [inputs, outputs] and bias of a linear layer."""
    layer = network[at]  # type: ignore[index]  # both halves of an MLP are sequences
    weight = layer.weight.detach().cpu().double().numpy().T
    return weight, layer.bias.detach().cpu().double().numpy()


def _single(weight: Doubles, bias: Doubles) -> Layer:
    return np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)


def _affine(x: Floats, layer: Layer) -> Floats:
    y: Floats = np.dot(x, layer[0])
    y += layer[1]
    return y


class Network:
    """Any VIB in PyTorch. Batches are padded to `SHAPES`: a new shape's first pass is slow."""

    seconds = 0.0

    def __init__(self, vib: VIB) -> None:
        self.most = SHAPES[-1] if vib.device.type == "cuda" else MOST_ON_CPU
        self._vib = vib.eval()
        self._noise = _noise(vib.architecture.latent).to(vib.device)
        self._graphs: dict[int, Callable[[Floats], Floats]] = {}
        if vib.device.type == "cuda":
            from service.inference.graphs import graph  # what only a GPU runs lies apart

            shape = vib.architecture.input_shape
            self._graphs = {
                rows: graph(lambda x: _packed(vib, x, None), (rows, *shape), vib.device)
                for rows in SHAPES
            }

    def __call__(self, images: Floats, samples: int) -> Outputs:
        """See `Forward`."""
        parts = [
            self._part(images[start : start + self.most], samples)
            for start in range(0, len(images), self.most)
        ]
        packed = np.concatenate(parts)
        return Outputs(packed[:, :-2], packed[:, -2], packed[:, -1] if samples else None)

    def _part(self, images: Floats, samples: int) -> Floats:
        """[N, C + 2]: probabilities, uncertainty, information."""
        rows = len(images)
        shape = next(shape for shape in SHAPES if shape >= rows)
        padded = np.zeros((shape, *images.shape[1:]), np.float32)
        padded[:rows] = images
        if self._graphs and not samples:
            return self._graphs[shape](padded)[:rows]
        with torch.inference_mode():
            x = torch.from_numpy(padded).to(self._vib.device)
            packed: Floats = _packed(self._vib, x, self._noise[:samples]).cpu().numpy()
        return packed[:rows]


def _packed(vib: VIB, images: Tensor, noise: Tensor | None) -> Tensor:
    """What `Outputs` has, side by side, so that it leaves a device at once."""
    out = vib(vib.prepare(images))
    probabilities = functional.softmax(out.logits_BC, dim=1)
    uncertainty = torch.special.entr(probabilities).sum(dim=1)
    information = torch.zeros_like(uncertainty)
    if noise is not None and len(noise):
        z = out.mu_BK + torch.exp(0.5 * out.log_var_BK) * noise.unsqueeze(1)
        drawn = functional.softmax(vib.approximator(z), dim=2)
        uncertainty = torch.special.entr(drawn.mean(dim=0)).sum(dim=1)
        inner = torch.special.entr(drawn).sum(dim=2).mean(dim=0)
        information = (uncertainty - inner).clamp(min=0.0)
    return torch.cat((probabilities, uncertainty[:, None], information[:, None]), dim=1)
