"""When to stop: the erased samples look like references that were never seen.

Shapes: E erased samples, R references.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math

import torch
from torch import Tensor

from unlearning.methods._protocol import Problem
from unlearning.methods._targets import Targets
from unlearning.verification.membership import class_weighted_auc, margins
from unlearning.vib import VIB

_AT_MOST = 2048  # erased samples looked at in a check: more would cost more than they tell
_CLIP = -4.6  # margins below are alike: p(y) under 1 %


class StopRule:
    """True at the second check in a row that finds, with the margins of `Targets.class_E`:

    - a class-weighted AUC of E against R within max(0.02, 1.64 SE) of 0.5;
    - upper and lower Kolmogorov-Smirnov distances under 1.36 sqrt(1/n + 1/n_R);
    - an accuracy on E within max(1 point, 2 SE) of the targets' own;
    - an accuracy on R at most max(0.2 points, SE / 2) under the model's before.
    """

    def __init__(self, model: VIB, problem: Problem, targets: Targets, seed: int) -> None:
        n = len(problem.erased)
        some = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:_AT_MOST]
        some = some.to(problem.erased.labels.device)
        self._images = problem.erased.images[some]
        self._class_E = targets.class_E[some]
        self._references = problem.references
        self._wanted = targets.accuracy
        self._before = self._accuracy(model)
        self._first = max(60, 2 * n // 100)
        self._passes = 0

    def __call__(self, model: VIB, step: int) -> bool:
        if step < self._first:
            return False
        self._passes = self._passes + 1 if self._indistinguishable(model) else 0
        return self._passes >= 2

    def _accuracy(self, model: VIB) -> float:
        predicted = model.logits(self._references.images).argmax(dim=1)
        return float((predicted == self._references.labels).float().mean())

    def _indistinguishable(self, model: VIB) -> bool:
        labels_R = self._references.labels
        raw_E = margins(model.logits(self._images), self._class_E)
        raw_R = margins(model.logits(self._references.images), labels_R)
        n, held = len(raw_E), len(raw_R)

        kept = float((raw_R > 0).float().mean())
        slack = max(0.002, 0.5 * math.sqrt(self._before * (1.0 - self._before) / held))
        right = float((raw_E > 0).float().mean())
        error = math.sqrt(self._wanted * (1.0 - self._wanted) / n)
        if kept < self._before - slack or abs(right - self._wanted) > max(0.01, 2.0 * error):
            return False

        e, r = raw_E.clamp_min(_CLIP), raw_R.clamp_min(_CLIP)
        comparable = torch.isin(self._class_E, labels_R)
        if not bool(comparable.any()):
            return True  # no reference of these classes: the accuracies are all there is
        e, class_E = e[comparable], self._class_E[comparable]
        found = class_weighted_auc(e, class_E, r, labels_R)
        if abs(found.auc - 0.5) > max(0.02, 1.64 * found.standard_error):
            return False
        upper, lower, effective = class_weighted_ks(e, class_E, r, labels_R)
        limit = 1.36 * math.sqrt(1.0 / len(e) + 1.0 / effective)
        return max(upper, lower) < limit


def class_weighted_ks(
    e: Tensor, labels_E: Tensor, r: Tensor, labels_R: Tensor
) -> tuple[float, float, float]:
    """One-sided Kolmogorov-Smirnov distances of `e` [E] from `r` [R], classes weighted as in E.

    Returns (greatest excess of E's distribution function, greatest deficit, effective number
    of references: 1 / sum of squared weights). Every class of E must be in R.
    """
    classes = int(max(labels_E.max(), labels_R.max())) + 1
    share_C = torch.bincount(labels_E, minlength=classes) / len(e)
    weight_R = (share_C / torch.bincount(labels_R, minlength=classes).clamp_min(1))[labels_R]
    r, order = r.sort()
    cumulated = torch.cat([weight_R.new_zeros(1), weight_R[order].cumsum(0)])
    points = torch.cat([e, r]).sort().values
    share_r = cumulated[torch.searchsorted(r, points, right=True)]
    share_e = torch.searchsorted(e.sort().values, points, right=True) / len(e)
    apart = share_e - share_r
    effective = 1.0 / float(weight_R.square().sum())
    return float(apart.max()), float(-apart.min()), effective
