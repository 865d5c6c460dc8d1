"""What each erased sample is asked to look like: a sample that was never seen.

Shapes: F folds of the teacher, E erased samples, R references, C classes.
"""

# ruff: noqa: N803, N806, N815 - symbols carry their shapes

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from unlearning.methods._protocol import Problem
from unlearning.teacher import Teacher
from unlearning.verification.membership import margins
from unlearning.vib import VIB

_MIN_FLAGGED = 5
_FLAG_QUANTILE = 0.01
_MIN_OF_CLASS = 20  # with fewer references of a class, its quantiles come from all classes


@dataclass(frozen=True, eq=False)
class Targets:
    """t_EC: target probabilities. flagged_E: the samples whose label the teacher contradicts.

    class_E: the class that each sample passes for: its label, or for flagged ones the
    teacher's. accuracy: the share of E that a model which never saw it would give y_e.
    """

    t_EC: Tensor
    flagged_E: Tensor
    class_E: Tensor
    accuracy: float


def make_targets(model: VIB, problem: Problem, teacher: Teacher) -> Targets:
    """Targets t(e) under `model`, the one before unlearning."""
    labels_E = problem.erased.labels
    log_p_FEC = teacher.log_probabilities(problem.erased.images)
    margin_FE = torch.stack([margins(log_p_EC, labels_E) for log_p_EC in log_p_FEC])
    mean_log_p_EC = log_p_FEC.mean(dim=0)
    flagged_E = flag(margin_FE, teacher.honest_margins_R)

    # The rest of the probability is shared as the teacher shares it: y_e masked out.
    other_EC = mean_log_p_EC.scatter(1, labels_E[:, None], -math.inf).softmax(dim=1)
    class_E = torch.where(flagged_E, other_EC.argmax(dim=1), labels_E)

    logits_RC = model.logits(problem.references.images)
    references_R = problem.references.labels
    own_margin_R = margins(logits_RC, references_R)
    rank_E = difficulty(margin_FE, labels_E, teacher)
    wanted_E = quantiles(own_margin_R, references_R, rank_E, labels_E)
    p_y_E = torch.where(flagged_E, 0.0, torch.sigmoid(wanted_E))
    t_EC = (1.0 - p_y_E)[:, None] * other_EC
    t_EC = t_EC.scatter(1, labels_E[:, None], p_y_E[:, None])

    accuracy = float((t_EC.argmax(dim=1) == labels_E).float().mean())
    return Targets(t_EC, flagged_E, class_E, accuracy)


def flag(margin_FE: Tensor, honest_margins_R: Tensor) -> Tensor:
    """Which erased samples carry a label that the teacher contradicts, boolean [E].

    Those whose median margin over folds lies under the 1 % quantile of the references'
    honest ones; none when they are fewer than 5, or no more than the 99 % quantile of
    Binomial(E, 0.01) that clean samples would give; all of E when they are more than half.
    """
    threshold = torch.quantile(honest_margins_R, _FLAG_QUANTILE)
    flagged_E = margin_FE.median(dim=0).values < threshold
    count, n = int(flagged_E.sum()), flagged_E.numel()
    if count < _MIN_FLAGGED or count <= binom.ppf(0.99, n, _FLAG_QUANTILE):
        return torch.zeros_like(flagged_E)
    if 2 * count > n:
        return torch.ones_like(flagged_E)
    return flagged_E


def difficulty(margin_FE: Tensor, labels_E: Tensor, teacher: Teacher) -> Tensor:
    """u in (0, 1), [E]: the rank of each sample among unseen ones of its class.

    Each fold ranks its margin among the honest ones; the ranks are averaged over folds as
    normal scores, which are then given unit variance again: the average of F scores has
    variance 1 - (F-1)/F * v, where v is their variance within a sample.
    """
    score_FE = torch.empty_like(margin_FE)
    for c in torch.unique(labels_E).tolist():
        mine = labels_E == c
        pool = _of_class(teacher.honest_margins_R, teacher.reference_labels_R, c).sort().values
        rank = torch.searchsorted(pool, margin_FE[:, mine].contiguous(), right=False)
        rank = rank + torch.searchsorted(pool, margin_FE[:, mine].contiguous(), right=True)
        score_FE[:, mine] = torch.special.ndtri((0.5 * rank + 0.5) / (len(pool) + 1))
    folds = len(score_FE)
    within = score_FE.var(dim=0).mean()
    spread = (1.0 - within * (folds - 1) / folds).clamp_min(0.2).sqrt()
    u_E: Tensor = torch.special.ndtr(score_FE.mean(dim=0) / spread)
    return u_E


def quantiles(values_R: Tensor, labels_R: Tensor, u_E: Tensor, labels_E: Tensor) -> Tensor:
    """The u-quantile, [E], of the values of the references of each sample's class."""
    found_E = torch.empty_like(u_E)
    for c in torch.unique(labels_E).tolist():
        mine = labels_E == c
        found_E[mine] = torch.quantile(_of_class(values_R, labels_R, c), u_E[mine])
    return found_E


def _of_class(values_R: Tensor, labels_R: Tensor, c: int) -> Tensor:
    chosen = values_R[labels_R == c]
    return chosen if len(chosen) >= _MIN_OF_CLASS else values_R
