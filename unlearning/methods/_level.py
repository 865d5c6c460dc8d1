"""L_u for ordinary samples: their targets, and the level of unseen samples' margins.

Shapes: E erased samples, m of them in a step (B rows), R references, C classes.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math

import torch
from torch import Tensor

from unlearning._closed_forms import OutputGradient, SoftTargets
from unlearning.methods._targets import Targets, unseen_quantiles
from unlearning.samples import Samples
from unlearning.verification.membership import margins
from unlearning.vib import VIB, Output

_FAR = 6.0  # nats: one sample that is further away pulls no harder
_REFERENCES_AT_MOST = 3072


class LevelTargets:
    """L_u = KL(t || p) + weight * (mean of clip(margin - level, +-6))^2, over the erased samples
    of a step but for noise.

    The KL of probabilities does not pull where both are near one, so that the large margins that
    memory made would stay. level: the margin that the model, as it is after every 50 steps, gives
    an unseen sample of the same class and rank; a level of before would be chased away from as
    all margins grow. Of the mean alone, for one sample's rank is rough.
    """

    every = 50
    """Steps between two looks at the references."""

    def __init__(
        self, targets: Targets, labels_E: Tensor, references: Samples, weight: float, seed: int
    ) -> None:
        self._soft = SoftTargets(targets.t_EC)
        self._targets, self._labels_E, self._weight, self._seed = targets, labels_E, weight, seed
        self._kept_E = (~targets.flagged_E).float()
        self._level_E = targets.margin_E.clone()
        self._references = references[slice(0, _REFERENCES_AT_MOST)]

    def tensors(self) -> dict[str, Tensor]:
        """What a snapshot keeps."""
        return {"level": self._level_E}

    @torch.no_grad()
    def follow(self, model: VIB, step: int) -> None:
        """Take the levels of `model`, at sampled z, as the steps see it; in place."""
        references = self._references
        noise = torch.Generator().manual_seed(self._seed + step)
        noise_RK = torch.randn(len(references), model.architecture.latent, generator=noise)
        was_training = model.training
        model.eval()  # statistics of batches are left alone
        logits_RC = model(model.prepare(references.images), noise_RK.to(model.device)).logits_BC
        model.train(was_training)
        self._level_E.copy_(
            unseen_quantiles(
                logits_RC,
                references.labels,
                self._targets.class_E,
                self._labels_E,
                self._targets.rank_E,
            )
        )

    def __call__(self, out: Output, e: Tensor) -> Tensor:
        off_B, kept_B = self._off(out, e)
        mean = (off_B * kept_B).sum() / kept_B.sum().clamp_min(1.0)
        loss: Tensor = self._soft(out, e) + self._weight * mean.square()
        return loss

    def gradient(self, out: Output, e: Tensor) -> OutputGradient:
        """(p - t) / B, and by the chain rule 2 weight mean / kept of each margin that is not
        clipped, of which d/dlogits is onehot(y) less the softmax over the other labels."""
        d_mu_BK, d_log_var_BK, d_logits_BC = self._soft.gradient(out, e)
        assert d_logits_BC is not None, "soft targets have it"
        off_B, kept_B = self._off(out, e)
        kept = kept_B.sum().clamp_min(1.0)
        slope = (off_B * kept_B).sum() * (2.0 * self._weight / kept.square())
        slope_B = slope * kept_B * (off_B.abs() < _FAR)
        y_B1 = self._labels_E.index_select(0, e)[:, None]
        others_BC = out.logits_BC.scatter(1, y_B1, -math.inf).softmax(dim=1)
        d_logits_BC.addcmul_(others_BC, slope_B[:, None], value=-1.0)
        d_logits_BC.scatter_add_(1, y_B1, slope_B[:, None])
        return OutputGradient(d_mu_BK, d_log_var_BK, d_logits_BC)

    def _off(self, out: Output, e: Tensor) -> tuple[Tensor, Tensor]:
        """How far each margin is above its level, clipped, [B]; 1 for those that count, [B]."""
        margin_B = margins(out.logits_BC, self._labels_E.index_select(0, e))
        off_B = (margin_B - self._level_E.index_select(0, e)).clamp(-_FAR, _FAR)
        return off_B, self._kept_E.index_select(0, e)
