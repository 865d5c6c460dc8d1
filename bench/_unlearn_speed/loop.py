"""A straightforward loop, as the authors of a paper would write it: the thing to be faster than.

Data sets and loaders of pictures, two loaders side by side, the fixed model run again on every
batch, two backward passes, the weight as a Python number. Written for this comparison.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from unlearning import VIB, Samples


class Pictures(Dataset[tuple[Tensor, int]]):
    """Samples as torchvision's own data sets give them: a picture, transformed when asked for."""

    def __init__(self, samples: Samples) -> None:
        self.images = samples.images[:, 0].numpy()
        self.labels = samples.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Loop:
    """Forget and remember, one batch of each a step, weighted by Eq. 14."""

    def __init__(
        self, model: VIB, erased: Samples, remaining: Samples, beta_u: float, limit: float
    ) -> None:
        self.model = model.train()
        self.fixed = copy.deepcopy(model).eval()
        self.erased = DataLoader(Pictures(erased), batch_size=100, shuffle=True, drop_last=True)
        self.remaining = DataLoader(
            Pictures(remaining), batch_size=100, shuffle=True, drop_last=True
        )
        self.optimizer = optim.Adam(model.parameters(), lr=1e-3)
        self.beta, self.beta_u, self.limit = 1e-3, beta_u, limit

    def steps(self) -> Iterator[None]:
        """Take steps for ever."""
        while True:
            for (x_e, y_e), (x_r, y_r) in zip(self.erased, self.remaining, strict=False):
                self.step(x_e, y_e, x_r, y_r)
                yield

    def step(self, x_e: Tensor, y_e: Tensor, x_r: Tensor, y_r: Tensor) -> None:
        with torch.no_grad():
            fixed = self.fixed(x_e)
        out = self.model(x_e)
        log_p = functional.log_softmax(out.logits_BC, dim=1)
        p_fixed = functional.softmax(fixed.logits_BC, dim=1)
        kl_y = (p_fixed * (p_fixed.log() - log_p)).sum(dim=1).mean()
        var, var_fixed = out.log_var_BK.exp(), fixed.log_var_BK.exp()
        apart = (fixed.mu_BK - out.mu_BK) ** 2
        kl_z = 0.5 * (var_fixed / var + apart / var - 1 + out.log_var_BK - fixed.log_var_BK).mean()
        forget_z = 0.5 * (out.mu_BK**2 + var - out.log_var_BK - 1).mean()
        forget_y = log_p[range(len(y_e)), y_e].mean()
        loss_u = self.beta_u * (forget_z + forget_y) + self.limit * (kl_z + kl_y)
        self.optimizer.zero_grad()
        loss_u.backward()
        g_u = self.collect()

        out = self.model(x_r)
        kl = 0.5 * (out.mu_BK**2 + out.log_var_BK.exp() - out.log_var_BK - 1).mean()
        loss_r = nn.CrossEntropyLoss()(out.logits_BC, y_r) + self.beta * kl
        self.optimizer.zero_grad()
        loss_r.backward()
        g_r = self.collect()

        apart_2 = sum(((a - b) ** 2).sum().item() for a, b in zip(g_u, g_r, strict=True))
        toward = sum(((b - a) * b).sum().item() for a, b in zip(g_u, g_r, strict=True))
        alpha = min(max(toward / apart_2, 0.0), 1.0) if apart_2 else 0.5
        for parameter, a, b in zip(self.model.parameters(), g_u, g_r, strict=True):
            parameter.grad = alpha * a + (1 - alpha) * b
        self.optimizer.step()
        assert math.isfinite(loss_u.item() + loss_r.item())

    def collect(self) -> list[Tensor]:
        found = []
        for parameter in self.model.parameters():
            assert parameter.grad is not None
            found.append(parameter.grad.clone())
        return found
