"""MINE: a learnt estimate of I(X; Z), in place of the variational bound of Eq. 8.

Belghazi, Baratin, Rajeswar, Ozair, Bengio, Courville, Hjelm, "Mutual Information Neural
Estimation", ICML 2018: by the Donsker-Varadhan representation (Eq. 5),

    I(X; Z) >= E_joint[T(x, z)] - log E_marginals[exp T(x, z')],

with T a network that is trained to raise the right-hand side while the representer is trained to
lower it; the moving average of Eq. 12 takes the bias out of T's gradient.

Only the representation's term is estimated so. The prediction's, I(Z; Y), is 0 for any
prediction where all erased samples have one label, as a trigger's have: an estimate of it would
ask for nothing.

Shapes: B erased samples in a step, P pixels, K dimensions of z, H hidden units of T.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unlearning._adam import Adam
from unlearning.vib import Output

_HIDDEN = 64
_LR = 1e-3
_AVERAGE = 0.99  # of the moving average of E[exp T]
_INNER = 2  # updates of T at each step of the representer


class Mine:
    """I(X_e; Z), in nats for each dimension of z, with a T of its own that learns as it is asked.

    z' for the marginals is the batch's z moved on by one sample.
    """

    def __init__(self, pixels: int, latent: int, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._latent = latent
        shapes = [(_HIDDEN, pixels), (_HIDDEN, latent), (_HIDDEN,), (1, _HIDDEN), (1,)]
        fans = [pixels + latent] * 3 + [_HIDDEN] * 2
        flat = torch.cat(
            [
                (torch.rand(math.prod(shape), generator=generator) * 2 - 1) / math.sqrt(fan)
                for shape, fan in zip(shapes, fans, strict=True)
            ]
        )
        self._theta = flat.to(device)
        self._shapes = shapes
        self._follow = Adam(self._theta)
        self._mean_exp = torch.ones((), device=device)

    def tensors(self) -> dict[str, Tensor]:
        """What changes from step to step: T's weights, its Adam, the moving average."""
        return {"T": self._theta, "mean_exp": self._mean_exp, **self._follow.tensors()}

    def __call__(self, x_BP: Tensor, out: Output, noise_BK: Tensor) -> Tensor:
        """The estimate at z = mu + sigma * noise, differentiable in mu and log_var, after T has
        learnt from this batch. With one sample there is no marginal: 0.
        """
        z_BK = out.mu_BK + torch.exp(0.5 * out.log_var_BK) * noise_BK
        if len(x_BP) < 2:
            return 0.0 * z_BK.sum()
        for _ in range(_INNER):
            self._learn(x_BP, z_BK.detach())
        joint, marginal = self._both(self._theta, x_BP, z_BK)
        estimate = joint.mean() - (marginal.logsumexp(0) - math.log(len(marginal)))
        return estimate / self._latent

    def _learn(self, x_BP: Tensor, z_BK: Tensor) -> None:
        with torch.enable_grad():
            theta = self._theta.detach().requires_grad_()
            joint, marginal = self._both(theta, x_BP, z_BK)
            mean_exp = marginal.exp().mean()
            self._mean_exp.lerp_(mean_exp.detach(), 1.0 - _AVERAGE)
            loss = mean_exp / self._mean_exp - joint.mean()  # the gradient of Eq. 12
            (gradient,) = torch.autograd.grad(loss, theta)
        self._follow.step(gradient, _LR)

    def _both(self, theta: Tensor, x_BP: Tensor, z_BK: Tensor) -> tuple[Tensor, Tensor]:
        """T(x, z) [B] on the joint samples and on the shuffled ones."""
        parts = torch.split(theta, [math.prod(shape) for shape in self._shapes])
        w_x, w_z, b, w, c = (p.view(s) for p, s in zip(parts, self._shapes, strict=True))
        from_x_BH = functional.linear(x_BP, w_x, b)
        from_z_BH = z_BK @ w_z.T
        joint = functional.relu(from_x_BH + from_z_BH) @ w.T + c
        marginal = functional.relu(from_x_BH + from_z_BH.roll(1, 0)) @ w.T + c
        return joint[:, 0], marginal[:, 0]
