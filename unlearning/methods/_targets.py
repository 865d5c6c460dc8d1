"""What each erased sample is asked to look like: a sample that was never seen.

Shapes: F folds of the teacher, E erased samples, R references, C classes.
"""

# ruff: noqa: N803, N806, N815 - symbols carry their shapes

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import scipy
import torch
from torch import Tensor

from unlearning.methods._protocol import Problem
from unlearning.teacher import Teacher
from unlearning.verification.membership import margins
from unlearning.vib import VIB

_MIN_FLAGGED = 5
_FLAG_QUANTILE = 0.01
_MIN_OF_CLASS = 20  # with fewer references of a class, its quantiles come from all classes
_HARDER, _HARDER_HALF = 0.18, 150
"""Ordinary samples are ranked up to 0.18 standard deviations lower than the teacher ranks them,
half of that from 150 samples on: what the teacher learnt from R reaches the model with its
targets, the more the more of them there are, and R becomes easier than samples that nothing has
seen, by .004 of AUC on MNIST (docs/experiments.md)."""
_PATTERN = 0.5  # of the flagged samples agree in label and class: they share one pattern


@dataclass(frozen=True, eq=False)
class Targets:
    """t_EC: target probabilities. flagged_E: the samples whose label the teacher contradicts.

    class_E: the class that each sample passes for: its label, or for flagged ones the
    teacher's. margin_E: the margin of y_e that a model which never saw e would give it. rank_E:
    in (0, 1), of that margin among unseen samples of the class (1/2 for noise).
    judged: how many of E are no noise, which comes last and is flagged. Of those, accuracy: the
    share that such a model would give y_e; contradicted: whether any is flagged; pattern:
    whether most flagged ones go from one class to one label, as a trigger's do.
    """

    t_EC: Tensor
    flagged_E: Tensor
    class_E: Tensor
    margin_E: Tensor
    rank_E: Tensor
    judged: int
    accuracy: float
    contradicted: bool
    pattern: bool


def make_targets(model: VIB, problem: Problem, teacher: Teacher) -> Targets:
    """Targets t(e) under `model`, the one before unlearning."""
    judged = problem.judged
    labels_E = judged.labels
    log_p_FEC = teacher.log_probabilities(judged.images)
    margin_FE = torch.stack([margins(log_p_EC, labels_E) for log_p_EC in log_p_FEC])
    mean_log_p_EC = log_p_FEC.mean(dim=0)
    flagged_E = flag(margin_FE, teacher.honest_margins_R)

    # The rest of the probability is shared as the teacher shares it: y_e masked out.
    other_EC = mean_log_p_EC.scatter(1, labels_E[:, None], -math.inf).softmax(dim=1)
    class_E = torch.where(flagged_E, other_EC.argmax(dim=1), labels_E)

    rank_E = unseen_ranks(teacher, labels_E, margin_FE, class_E)
    if not bool(flagged_E.any()):
        harder = _HARDER * len(judged) / (len(judged) + _HARDER_HALF)
        rank_E = torch.special.ndtr(torch.special.ndtri(rank_E) - harder)
    references = problem.references
    margin_E = unseen_quantiles(
        model.logits(references.images), references.labels, class_E, labels_E, rank_E
    )
    p_y_E = torch.where(flagged_E, 0.0, torch.sigmoid(margin_E))
    t_EC = (1.0 - p_y_E)[:, None] * other_EC
    t_EC = t_EC.scatter(1, labels_E[:, None], p_y_E[:, None])

    accuracy = float((t_EC.argmax(dim=1) == labels_E).float().mean())
    pairs = (class_E * t_EC.shape[1] + labels_E)[flagged_E]
    pattern = len(pairs) > 0 and int(pairs.bincount().max()) > _PATTERN * len(pairs)
    found = Targets(
        t_EC, flagged_E, class_E, margin_E, rank_E, len(judged), accuracy, len(pairs) > 0, pattern
    )
    return _with_noise(found, problem, teacher) if problem.noise else found


def _with_noise(found: Targets, problem: Problem, teacher: Teacher) -> Targets:
    """The targets with those of the noise after them: what a model makes of it unseen.

    Its label included: noise that is given its label less often than unseen noise gives itself
    away too. One fold of the teacher, because the mean of several is never as sure as a model.
    """
    noise = problem.erased[len(problem.judged) :]
    log_p_EC = teacher.log_probabilities(noise.images)[0]
    return replace(
        found,
        t_EC=torch.cat([found.t_EC, log_p_EC.exp()]),
        flagged_E=torch.cat([found.flagged_E, torch.ones_like(noise.labels, dtype=torch.bool)]),
        class_E=torch.cat([found.class_E, log_p_EC.argmax(dim=1)]),
        margin_E=torch.cat([found.margin_E, margins(log_p_EC, noise.labels)]),
        rank_E=torch.cat([found.rank_E, torch.full_like(log_p_EC[:, 0], 0.5)]),
    )


def unseen_ranks(teacher: Teacher, labels_E: Tensor, margin_FE: Tensor, class_E: Tensor) -> Tensor:
    """The rank in (0, 1), [E], that e's margins for y_e have among the teacher's honest ones.

    Among references of the class that e passes for, scored for y_e.
    """
    score_FE = torch.empty_like(margin_FE)
    for mine, c, y in _pairs(class_E, labels_E):
        honest = pool(teacher.honest_log_p_RC, teacher.reference_labels_R, c, y)
        score_FE[:, mine] = normal_scores(honest, margin_FE[:, mine])
    return ranks(score_FE)


def unseen_quantiles(
    logits_RC: Tensor, labels_R: Tensor, class_E: Tensor, labels_E: Tensor, rank_E: Tensor
) -> Tensor:
    """The margin for its label y_e, [E], that a model gives an unseen sample like e.

    logits_RC: that model's, of references. The quantile, at e's rank, of the margins for y_e of
    references of the class that e passes for.
    """
    margin_E = torch.empty_like(rank_E)
    for mine, c, y in _pairs(class_E, labels_E):
        margin_E[mine] = torch.quantile(pool(logits_RC, labels_R, c, y), rank_E[mine])
    return margin_E


def _pairs(class_E: Tensor, labels_E: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """Every pair of class and label that occurs, with the boolean [E] of where it does."""
    most = int(torch.stack([class_E, labels_E]).max()) + 1
    pair_E = class_E * most + labels_E
    for pair in torch.unique(pair_E).tolist():
        yield pair_E == pair, *divmod(pair, most)


def pool(logits_RC: Tensor, labels_R: Tensor, c: int, y: int) -> Tensor:
    """The margins for y, [P], of the references of class c.

    When class c has too few: the margins of all references for their own labels when c is y,
    else those for y of all that are not of class y.
    """
    chosen = labels_R == c
    if int(chosen.sum()) < _MIN_OF_CLASS:
        if c == y:
            return margins(logits_RC, labels_R)
        chosen = labels_R != y
    label_P = torch.full_like(labels_R[chosen], y)
    return margins(logits_RC[chosen], label_P)


def flag(margin_FE: Tensor, honest_margins_R: Tensor) -> Tensor:
    """Which erased samples carry a label that the teacher contradicts, boolean [E].

    Those whose median margin over folds lies under the 1 % quantile of the references'
    honest ones; none when they are fewer than 5, or no more than the 99 % quantile of
    Binomial(E, 0.01) that clean samples would give; all of E when they are more than half.
    """
    threshold = torch.quantile(honest_margins_R, _FLAG_QUANTILE)
    flagged_E = margin_FE.median(dim=0).values < threshold
    count, n = int(flagged_E.sum()), flagged_E.numel()
    if count < _MIN_FLAGGED or count <= scipy.stats.binom.ppf(0.99, n, _FLAG_QUANTILE):
        return torch.zeros_like(flagged_E)
    if 2 * count > n:
        return torch.ones_like(flagged_E)
    return flagged_E


def normal_scores(honest_P: Tensor, margin_FE: Tensor) -> Tensor:
    """Each margin's rank among `honest_P`, as a standard normal quantile, [F, E]."""
    honest_P, margin_FE = honest_P.sort().values, margin_FE.contiguous()
    rank = torch.searchsorted(honest_P, margin_FE, right=False)
    rank = rank + torch.searchsorted(honest_P, margin_FE, right=True)
    scores: Tensor = torch.special.ndtri((0.5 * rank + 0.5) / (len(honest_P) + 1))
    return scores


def ranks(score_FE: Tensor) -> Tensor:
    """u in (0, 1), [E]: the rank of each sample among unseen ones, from its F normal scores.

    The average of F scores has variance 1 - (F-1)/F * v, where v is their variance within a
    sample. Divided by its root the averages would have unit variance, but they have heavier
    tails than normal ones: of held-out MNIST 1.6 % would fall under the 1 % quantile and 3.8 %
    under the 3 % one. Divided by its fourth root, 1.0 % and 2.8 % do.
    """
    folds = len(score_FE)
    within = score_FE.var(dim=0).mean()
    variance = (1.0 - within * (folds - 1) / folds).clamp_min(0.2)
    u_E: Tensor = torch.special.ndtr(score_FE.mean(dim=0) / variance.pow(0.25))
    return u_E
