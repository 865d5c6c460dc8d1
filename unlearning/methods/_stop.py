"""When to stop: the erased samples look like references that were never seen.

Shapes: E erased samples, R references, P of them in a group, C classes.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from unlearning.methods._protocol import Problem
from unlearning.methods._targets import Targets
from unlearning.verification.membership import class_weighted_auc, margins
from unlearning.vib import VIB

# Looked at in a check: more would cost more than they tell.
_ERASED_AT_MOST = 2048
_REFERENCES_AT_MOST = 8192
_CLIP = -4.6  # margins below are alike: p(y) under 1 %


class StopRule:
    """True at the second check in a row that finds E like the references R.

    The score is the margin of y_e. A natural sample is compared with references of its own
    class; a flagged one with references of the teacher's class for it, scored for the same
    wrong label. Asked for, with groups weighted as in E:

    - an AUC within max(0.02, 1.64 SE) of 0.5;
    - upper and lower Kolmogorov-Smirnov distances under 1.36 sqrt(1/n + 1/n_R);
    - a share of E that is given y_e within max(1 point, 2 SE) of the targets' own;
    - an accuracy on R at most max(0.2 points, SE / 2) under the model's before.
    """

    def __init__(self, model: VIB, problem: Problem, targets: Targets, seed: int) -> None:
        n = len(problem.erased)
        generator = torch.Generator().manual_seed(seed)
        device = model.device
        some = torch.randperm(n, generator=generator)[:_ERASED_AT_MOST].to(device)
        self._erased = problem.erased[some]
        self._class_E = targets.class_E[some]
        some = torch.randperm(len(problem.references), generator=generator)
        self._references = problem.references[some[:_REFERENCES_AT_MOST].to(device)]
        self._wanted = targets.accuracy
        predicted = model.logits(self._references.images).argmax(dim=1)
        right = predicted == self._references.labels
        self._before = float(right.float().mean())
        self._first = max(60, 2 * n // 100)
        self._passes = 0

    def __call__(self, model: VIB, step: int) -> bool:
        if step < self._first:
            return False
        self._passes = self._passes + 1 if self._indistinguishable(model) else 0
        return self._passes >= 2

    def state(self) -> dict[str, Any]:
        """Checks passed in a row."""
        return {"passes": self._passes}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._passes = int(state["passes"])

    def _indistinguishable(self, model: VIB) -> bool:
        logits_RC = model.logits(self._references.images)
        labels_R = self._references.labels
        labels_E = self._erased.labels
        logits_EC = model.logits(self._erased.images)
        e = margins(logits_EC, labels_E)

        kept = float((logits_RC.argmax(dim=1) == labels_R).float().mean())
        error = math.sqrt(self._before * (1.0 - self._before) / len(labels_R))
        if kept < self._before - max(0.002, 0.5 * error):
            return False
        given = float((logits_EC.argmax(dim=1) == labels_E).float().mean())
        error = math.sqrt(self._wanted * (1.0 - self._wanted) / len(e))
        if abs(given - self._wanted) > max(0.01, 2.0 * error):
            return False

        # One group for each pair (y_e, class); the references of the class, scored for y_e.
        classes = model.architecture.classes
        group_E = labels_E * classes + self._class_E
        scores, groups = [], []
        for group in torch.unique(group_E).tolist():
            peers_PC = logits_RC[labels_R == group % classes]
            label_P = torch.full_like(peers_PC[:, 0], group // classes, dtype=torch.int64)
            scores.append(margins(peers_PC, label_P))
            groups.append(torch.full_like(label_P, group))
        r, group_R = torch.cat(scores).clamp_min(_CLIP), torch.cat(groups)
        comparable = torch.isin(group_E, group_R)
        if not bool(comparable.any()):
            return True  # no reference of these classes: the two shares are all there is
        e, group_E = e[comparable].clamp_min(_CLIP), group_E[comparable]
        found = class_weighted_auc(e, group_E, r, group_R)
        if abs(found.auc - 0.5) > max(0.02, 1.64 * found.standard_error):
            return False
        upper, lower, effective = class_weighted_ks(e, group_E, r, group_R)
        return max(upper, lower) < 1.36 * math.sqrt(1.0 / len(e) + 1.0 / effective)


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
