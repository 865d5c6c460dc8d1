"""Weights of two objectives, forgetting (g_u) and remembering (g_r): alpha and 1 - alpha.

Shapes: D parameters. The step goes along alpha * g_u + (1 - alpha) * g_r.
All stay on the device: nothing here waits for a value.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["eq14", "equal_norm", "fixed"]
WEIGHTINGS: tuple[Weighting, ...] = ("eq14", "equal_norm", "fixed")

_TINY = 1e-30  # where both gradients vanish or agree, any weight gives the same step


def eq14(g_u_D: Tensor, g_r_D: Tensor) -> Tensor:  # noqa: N803
    """alpha = clip(((g_r - g_u) . g_r) / ||g_u - g_r||^2, 0, 1), a scalar tensor.

    Wang, Zhang, Tian, Yu, IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, Eq. 14: the
    shortest vector between the two gradients.
    """
    apart = g_r_D - g_u_D
    return (apart.dot(g_r_D) / apart.dot(apart).clamp_min(_TINY)).clamp(0.0, 1.0)


def equal_norm(g_u_D: Tensor, g_r_D: Tensor) -> Tensor:  # noqa: N803
    """alpha = ||g_r|| / (||g_r|| + ||g_u||), a scalar tensor: both gradients pull alike.

    For two objectives this is the direction of the Nash bargaining solution (Navon et al.,
    "Multi-Task Learning as a Bargaining Game", ICML 2022).
    """
    norm_u, norm_r = g_u_D.norm(), g_r_D.norm()
    alpha: Tensor = norm_r / (norm_r + norm_u).clamp_min(_TINY)
    return alpha


def weight(
    weighting: Weighting,
    g_u_D: Tensor,  # noqa: N803
    g_r_D: Tensor,  # noqa: N803
    fixed: float = 0.5,
) -> Tensor:
    """alpha, a scalar tensor in 0..1, by the named rule; `fixed` is the rule "fixed"'s own."""
    if weighting == "eq14":
        return eq14(g_u_D, g_r_D)
    if weighting == "equal_norm":
        return equal_norm(g_u_D, g_r_D)
    return torch.as_tensor(fixed, dtype=g_u_D.dtype, device=g_u_D.device)
