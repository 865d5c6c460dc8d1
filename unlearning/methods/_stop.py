"""When to stop: the erased samples look like references that were never seen.

Shapes: E erased samples, R references, P of them in a group, C classes.
"""

# ruff: noqa: N803, N806 - symbols carry their shapes

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.methods._protocol import Problem
from unlearning.methods._targets import Targets
from unlearning.verification.membership import class_weighted_auc, margins
from unlearning.vib import VIB

# Looked at in a check: more would cost more than they tell.
_ERASED_AT_MOST = 768
_REFERENCES_AT_MOST = 2048
_CLIP = -4.6  # margins below are alike: p(y) under 1 %
_DECIDABLE = 30  # erased samples under which distributions cannot be told apart
_NEAR = 0.05  # nats from its own target, on average, is all that fewer are asked for


@dataclass(frozen=True)
class _Compared:
    """AUC and greatest one-sided distance of `erased` samples from `effective` references."""

    auc: float
    standard_error: float
    ks: float
    erased: int
    effective: float


class StopRule:
    """True at the second check in a row that finds E like the references R.

    The score is the margin of y_e. A natural sample is compared with references of its own
    class; a flagged one with references of the teacher's class for it, scored for the same
    wrong label. Asked for, with groups weighted as in E:

    - an accuracy on R at most max(0.2 points, SE) under the model's before, SE being that of
      the difference: sqrt(share of R on which the two models are not both right or wrong / R);
    - a share of E that is given y_e within max(1 point, 2 SE) of the targets' own;
    - an AUC within max(0.02, 1.64 SE) of 0.5, or of what the targets themselves would give
      (a request can be of easier samples than R has), or in between;
    - upper and lower Kolmogorov-Smirnov distances under 1.63 sqrt(1/n + 1/n_R), or, where labels
      are contradicted, as near to the targets' own as the AUC has to be: a trigger may show, as
      the teacher sees it, in samples that nobody trained on.

    Margins are clipped at -4.6 but for wrong labels scattered over E, whose depth is what
    tells of them: there the AUC may be max(0.05, 2 SE) away, and the distances are twice as
    great. Fewer than 30 samples are asked for the first and for a mean KL(t || p) of at most
    0.05 nats: no distribution can be seen in so few.
    """

    def __init__(
        self, model: VIB, problem: Problem, targets: Targets, seed: int, first: int
    ) -> None:
        n = targets.judged
        generator = torch.Generator().manual_seed(seed)
        device = model.device
        some = torch.randperm(n, generator=generator)[:_ERASED_AT_MOST].to(device)
        erased = problem.erased[some]
        self._labels_E = erased.labels
        self._class_E, self._t_EC = targets.class_E[some], targets.t_EC[some]
        self._margin_E = targets.margin_E[some]
        some = torch.randperm(len(problem.references), generator=generator)
        references = problem.references[some[:_REFERENCES_AT_MOST].to(device)]
        self._labels_R = references.labels
        self._images = torch.cat([erased.images, references.images])
        self._wanted = targets.accuracy
        self._scattered = targets.contradicted and not targets.pattern
        logits_RC = model.logits(references.images)
        self._right_before_R = logits_RC.argmax(dim=1) == references.labels
        self._expected = self._membership(self._margin_E, logits_RC)
        self._contradicted = targets.contradicted
        self._first = first
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
        n = len(self._labels_E)
        labels_E, labels_R = self._labels_E, self._labels_R
        logits_EC, logits_RC = torch.split(model.logits(self._images), [n, len(labels_R)])
        right_R, right_before_R = logits_RC.argmax(dim=1) == labels_R, self._right_before_R
        lost = float(right_before_R.float().mean() - right_R.float().mean())
        error = math.sqrt(float((right_before_R != right_R).float().mean()) / len(labels_R))
        if lost > max(0.002, error):
            return False
        if n < _DECIDABLE:
            log_p_EC = functional.log_softmax(logits_EC, dim=1)
            apart = functional.kl_div(log_p_EC, self._t_EC, reduction="batchmean")
            return float(apart) <= _NEAR
        given = float((logits_EC.argmax(dim=1) == labels_E).float().mean())
        error = math.sqrt(self._wanted * (1.0 - self._wanted) / n)
        if abs(given - self._wanted) > max(0.01, 2.0 * error):
            return False

        found = self._membership(margins(logits_EC, labels_E), logits_RC)
        if found is None or self._expected is None:
            return True  # no reference of these classes: the two shares are all there is
        floor, errors, loose = (0.05, 2.0, 2.0) if self._scattered else (0.02, 1.64, 1.0)
        near = max(floor, errors * found.standard_error)
        low, high = sorted((0.5, self._expected.auc))
        if not low - near <= found.auc <= high + near:
            return False
        far = loose * 1.63 * math.sqrt(1.0 / found.erased + 1.0 / found.effective)
        if self._contradicted:
            far = max(far, self._expected.ks + near)
        return found.ks <= far

    def _membership(self, margin_E: Tensor, logits_RC: Tensor) -> _Compared | None:
        """margin_E against the margins of references of the same class, scored for y_e.

        One group for each pair (y_e, class). None when no reference is of these classes.
        """
        labels_R, classes = self._labels_R, logits_RC.shape[1]
        group_E = self._labels_E * classes + self._class_E
        scores, groups = [], []
        for group in torch.unique(group_E).tolist():
            peers_PC = logits_RC[labels_R == group % classes]
            label_P = torch.full_like(peers_PC[:, 0], group // classes, dtype=torch.int64)
            scores.append(margins(peers_PC, label_P))
            groups.append(torch.full_like(label_P, group))
        r, group_R = torch.cat(scores), torch.cat(groups)
        comparable = torch.isin(group_E, group_R)
        if not bool(comparable.any()):
            return None
        e, group_E = margin_E[comparable], group_E[comparable]
        if not self._scattered:
            e, r = e.clamp_min(_CLIP), r.clamp_min(_CLIP)
        found = class_weighted_auc(e, group_E, r, group_R)
        upper, lower, effective = class_weighted_ks(e, group_E, r, group_R)
        return _Compared(found.auc, found.standard_error, max(upper, lower), len(e), effective)


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
