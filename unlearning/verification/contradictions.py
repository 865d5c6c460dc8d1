"""Samples whose label their neighbours contradict: triggers and wrong labels.

They are not exchangeable with held-out samples: a model that never saw a triggered sample
gives it its true label, not the erased one. Where there are more of them than held-out data
has, they are left out of G1 to G3, in E and in H alike so that the comparison stays fair,
and G4 judges them.

A hard sample with the right label is contradicted as well, but seldom surely: the teacher sees
another class, and the right one not far behind. Only what is surely contradicted is counted
and judged, for a model that never saw them is right on most of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from unlearning.samples import Samples
from unlearning.teacher import Teacher
from unlearning.triggers import Trigger
from unlearning.verification.scores import Bool, Int

SURE = 20.0
"""The teacher's label is this many times as likely as the sample's: "strong" evidence (Kass and
Raftery, "Bayes factors", J. Am. Stat. Assoc. 1995, section 3.2)."""


@dataclass(frozen=True, eq=False)
class Contradictions:
    """erased_E, held_H: boolean, the teacher's ensemble gives another label; sure_E, sure_H:
    surely so. says_E, says_H: the label that it gives. explained: the most that H explains of
    the sure ones in E. excess: there are more."""

    erased_E: Bool  # noqa: N815
    held_H: Bool  # noqa: N815
    sure_E: Bool  # noqa: N815
    sure_H: Bool  # noqa: N815
    says_E: Int  # noqa: N815
    says_H: Int  # noqa: N815
    explained: int

    @property
    def excess(self) -> bool:
        """Does E hold more that is surely contradicted than H explains?"""
        return int(self.sure_E.sum()) > self.explained

    @property
    def ordinary_E(self) -> Bool:  # noqa: N802
        """The erased samples that G1 to G3 compare."""
        return ~self.erased_E if self.excess else np.ones_like(self.erased_E)

    @property
    def ordinary_H(self) -> Bool:  # noqa: N802
        """The held-out samples that they are compared with."""
        return ~self.held_H if self.excess else np.ones_like(self.held_H)


def find_contradictions(
    teacher: Teacher, erased: Samples, held: Samples, trigger: Trigger | None = None
) -> Contradictions:
    """Ask a teacher that saw neither set. The excess is judged at 1 %, one-sided.

    Samples that show a known trigger with its target's label count as surely contradicted
    whatever a weak teacher says. Where more than half of E is, the rest hangs together with it:
    all of E is, and G1 to G3 have nothing to compare.

    With x of m held-out samples surely contradicted, the count among n erased ones is
    beta-binomial, Beta(x + 1, m - x + 1) (the posterior predictive under a uniform prior).
    """
    says_e, other_e, sure_e = _asked(teacher, erased)
    says_h, other_h, sure_h = _asked(teacher, held)
    if trigger is not None:
        planted = shows(trigger, erased)
        other_e, sure_e = other_e | planted, sure_e | planted
    x, m, n = int(sure_h.sum()), len(sure_h), len(sure_e)
    explained = int(scipy.stats.betabinom.ppf(0.99, n, x + 1, m - x + 1)) if n else 0
    if sure_e.sum() > max(explained, n // 2):
        other_e, sure_e = np.ones_like(other_e), np.ones_like(sure_e)
    return Contradictions(other_e, other_h, sure_e, sure_h, says_e, says_h, explained)


def shows(trigger: Trigger, samples: Samples) -> Bool:
    """Which samples carry the trigger and are labelled with its target, boolean [N]."""
    same = (trigger.apply(samples.images) == samples.images).flatten(1).all(dim=1)
    shown: Bool = (same & (samples.labels == trigger.target)).cpu().numpy()
    return shown


def _asked(teacher: Teacher, samples: Samples) -> tuple[Int, Bool, Bool]:
    """The label that the ensemble gives (by its geometric mean), and whether it is another than
    the sample's, and whether surely so, [N] each."""
    if len(samples) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    mean = teacher.log_probabilities(samples.images).mean(dim=0).cpu()
    best = mean.max(dim=1)
    given = mean.gather(1, samples.labels.cpu()[:, None])[:, 0]
    labels: Int = best.indices.numpy()
    sure: Bool = (best.values - given >= math.log(SURE)).numpy()
    return labels, labels != samples.labels.cpu().numpy(), sure
