"""Adam on one flat vector.

torch.optim costs each process seconds of imports before its first step; this calls the same
fused kernel (tested to agree with it): one pass over the vector, and nothing waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.

    theta_D is updated in place; m_D and v_D are the moment estimates of its gradient, t the
    number of steps.
    """

    def __init__(self, theta_D: Tensor) -> None:  # noqa: N803
        self._theta_D = theta_D
        self._m_D = torch.zeros_like(theta_D)
        self._v_D = torch.zeros_like(theta_D)
        self._t = torch.zeros((), dtype=torch.float32, device=theta_D.device)

    def tensors(self) -> dict[str, Tensor]:
        """What changes from step to step, beside theta_D."""
        return {"m": self._m_D, "v": self._v_D, "t": self._t}

    @torch.no_grad()
    def step(self, g_D: Tensor, lr: float) -> None:  # noqa: N803
        """Follow the gradient g_D at rate lr."""
        self._t += 1
        torch._fused_adam_(
            [self._theta_D],
            [g_D],
            [self._m_D],
            [self._v_D],
            [],
            [self._t],
            lr=lr,
            beta1=_BETA1,
            beta2=_BETA2,
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )
