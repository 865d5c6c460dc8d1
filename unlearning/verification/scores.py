"""What the gates compare: two scores of each sample at z = mu(x), and whether it is right.

The margin z_y - logsumexp of the other logits says what the prediction knows of the label;
KL(p(z|x) || N(0, I)) what the representation still holds, which outputs can hide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from unlearning.samples import Samples
from unlearning.verification.membership import margins
from unlearning.vib import VIB, Output

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

SCORES = ("margin", "representation")
"""The scores by name."""


@dataclass(frozen=True, eq=False)
class Scores:
    """N samples under one model: margin [N] and representation [N] in nats, labels [N],
    right [N] (the label was predicted), confidence [N] (of the predicted class, 0..1),
    mu [N, K]."""

    margin: Float
    representation: Float
    labels: Int
    right: Bool
    confidence: Float
    mu: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: Bool | Int) -> Scores:
        """The chosen samples."""
        return Scores(
            self.margin[chosen],
            self.representation[chosen],
            self.labels[chosen],
            self.right[chosen],
            self.confidence[chosen],
            self.mu[chosen],
        )

    def named(self, score: str) -> Float:
        """The score of this name; see SCORES."""
        return self.margin if score == "margin" else self.representation


def _divergence(out: Output) -> torch.Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, summed over K, [B]."""
    terms = out.mu_BK.square() + out.log_var_BK.exp() - out.log_var_BK - 1.0
    return 0.5 * terms.sum(dim=1)


@torch.no_grad()
def score(model: VIB, samples: Samples, chunk: int = 4096) -> Scores:
    """Scores of samples under a model, in evaluation mode."""
    was_training = model.training
    model.eval()
    parts: list[list[torch.Tensor]] = []
    try:
        for start in range(0, len(samples), chunk):
            part = samples[slice(start, start + chunk)]
            out = model(model.prepare(part.images.to(model.device)))
            labels = part.labels.to(model.device)
            best = out.logits_BC.softmax(dim=1).max(dim=1)
            parts.append(
                [
                    margins(out.logits_BC, labels).double(),
                    _divergence(out).double(),
                    labels,
                    best.indices == labels,
                    best.values.double(),
                    out.mu_BK,
                ]
            )
    finally:
        model.train(was_training)
    if not parts:
        none = np.zeros(0)
        k = model.architecture.latent
        return Scores(
            none, none, none.astype(np.int64), none.astype(bool), none, np.zeros((0, k), np.float32)
        )
    columns = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    return Scores(*columns)
