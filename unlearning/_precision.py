"""Half-width arithmetic where the processor gains by it.

Convolutions run in bfloat16 under autocast; weights, optimiser, losses and what is shipped stay
float32, and so does inference. A ResNet-18 step of 50 images on one core that multiplies bfloat16
(AVX-512) took 2.3 s of CPU in float32, 1.9 s with channels last, 0.95 s with both. The small dense
model gains nothing: it stays float32.

Images under 32 pixels stay float32 too: with 4 x 4 ones, whose last convolutions see a single
pixel, a bfloat16 gradient on the CPU (torch 2.15) held what was in memory before, NaN at times.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unlearning import _cuda
from unlearning._fields import check_choice
from unlearning.vib import VIB, Architecture, Output

Precision = Literal["auto", "float32", "bfloat16"]
_LEAST = 32  # pixels a side
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16")


def resolve(
    precision: Precision, architecture: Architecture, device: str | torch.device
) -> Literal["float32", "bfloat16"]:
    """What "auto" means here: bfloat16 for convolutions where the processor has it.

    By capability, not by a measurement: the same machine always answers alike. Raises
    ValueError for another name, or bfloat16 for images that are too small for it.
    """
    check_choice("precision", "precision", precision, PRECISIONS)
    large = min(architecture.input_shape[1:]) >= _LEAST
    if precision == "bfloat16" and not large:
        raise ValueError(f"bfloat16 needs images of {_LEAST} pixels or more a side")
    if precision != "auto":
        return precision
    fit = architecture.kind != "mlp" and large
    return "bfloat16" if fit and _native(torch.device(device)) else "float32"


def _native(device: torch.device) -> bool:
    if device.type == "cuda":
        return _cuda.has_bfloat16(device)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def forward(model: VIB, x: Tensor, noise_BK: Tensor, precision: str) -> Output:  # noqa: N803
    """The model's float32 outputs, its arithmetic in `precision`."""
    if precision == "float32":
        out: Output = model(x, noise_BK)
        return out
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        out = model(x, noise_BK)
    return Output(*(part.float() for part in out))
