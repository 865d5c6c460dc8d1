"""Weights of two objectives, forgetting (g_u) and remembering (g_r): alpha and 1 - alpha.

The step goes along alpha * g_u + (1 - alpha) * g_r. Every rule needs only the products of the
two gradients, and gram_22 = [[g_u.g_u, g_u.g_r], [g_u.g_r, g_r.g_r]] holds them.
All stay on the device: nothing here waits for a value.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["eq14", "equal_norm", "fixed"]
WEIGHTINGS: tuple[Weighting, ...] = ("eq14", "equal_norm", "fixed")

_TINY = 1e-30  # where both gradients vanish or agree, any weight gives the same step


def gram(g_2D: Tensor) -> Tensor:  # noqa: N803
    """gram_22 of the gradients g_u, g_r, the rows of g_2D."""
    g_u, g_r = g_2D.unbind()
    uu, ur, rr = torch.dot(g_u, g_u), torch.dot(g_u, g_r), torch.dot(g_r, g_r)
    return torch.stack([uu, ur, ur, rr]).view(2, 2)  # a third faster than a product of matrices


def eq14(gram_22: Tensor) -> Tensor:
    """alpha = clip(((g_r - g_u) . g_r) / ||g_u - g_r||^2, 0, 1), a scalar tensor.

    Wang, Zhang, Tian, Yu, IEEE TIFS 2024, doi 10.1109/TIFS.2023.3331239, Eq. 14: the
    shortest vector between the two gradients, which is MGDA for two objectives (Sener and
    Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018).
    """
    (uu, ur), (_, rr) = gram_22.unbind()[0].unbind(), gram_22.unbind()[1].unbind()
    apart = uu + rr - 2.0 * ur
    return ((rr - ur) / apart.clamp_min(_TINY)).clamp(0.0, 1.0)


def equal_norm(gram_22: Tensor) -> Tensor:
    """alpha = ||g_r|| / (||g_r|| + ||g_u||), a scalar tensor: both gradients pull alike.

    For two objectives this is the direction of the Nash bargaining solution (Navon et al.,
    "Multi-Task Learning as a Bargaining Game", ICML 2022).
    """
    norm_u, norm_r = gram_22.diagonal().sqrt().unbind()
    return norm_r / (norm_r + norm_u).clamp_min(_TINY)


def weight(weighting: Weighting, gram_22: Tensor, fixed: float = 0.5) -> Tensor:
    """alpha, a scalar tensor in 0..1, by the named rule; `fixed` is the rule "fixed"'s own."""
    if weighting == "eq14":
        return eq14(gram_22)
    if weighting == "equal_norm":
        return equal_norm(gram_22)
    return torch.full_like(gram_22[0, 0], fixed)


def norm_of(gram_22: Tensor, alpha: Tensor) -> Tensor:
    """||alpha * g_u + (1 - alpha) * g_r||, a scalar tensor."""
    a_2 = torch.stack([alpha, 1.0 - alpha])
    return (a_2 @ gram_22 @ a_2).clamp_min(0.0).sqrt()
