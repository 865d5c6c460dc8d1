"""Samples whose label their neighbours contradict: triggers and wrong labels.

They are not exchangeable with held-out samples: a model that never saw a triggered sample
gives it its true label, not the erased one. Where there are more of them than held-out data
has, they are left out of G1 to G3, in E and in H alike so that the comparison stays fair,
and G4 judges them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from unlearning.samples import Samples
from unlearning.teacher import Teacher
from unlearning.triggers import Trigger
from unlearning.verification.scores import Bool, Int


@dataclass(frozen=True, eq=False)
class Contradictions:
    """erased_E, held_H: boolean, the teacher's ensemble gives another label. says_E, says_H:
    the label that it gives. excess: there are more in E than H explains."""

    erased_E: Bool  # noqa: N815
    held_H: Bool  # noqa: N815
    says_E: Int  # noqa: N815
    says_H: Int  # noqa: N815
    excess: bool

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

    Samples that show a known trigger with its target's label count as contradicted whatever
    a weak teacher says. Where more than half of E is, the rest hangs together with it: all of
    E is, and G1 to G3 have nothing to compare.

    With x of m held-out samples contradicted, the count among n erased ones is beta-binomial,
    Beta(x + 1, m - x + 1) (the posterior predictive under a uniform prior).
    """
    says_e, says_h = (_says(teacher, samples) for samples in (erased, held))
    wrong_e = says_e != erased.labels.cpu().numpy()
    if trigger is not None:
        wrong_e |= shows(trigger, erased)
    wrong_h = says_h != held.labels.cpu().numpy()
    x, m, n = int(wrong_h.sum()), len(wrong_h), len(wrong_e)
    most = stats.betabinom.ppf(0.99, n, x + 1, m - x + 1)
    excess = bool(wrong_e.sum() > most)
    if excess and 2 * wrong_e.sum() > n:
        wrong_e[:] = True
    return Contradictions(wrong_e, wrong_h, says_e, says_h, excess)


def shows(trigger: Trigger, samples: Samples) -> Bool:
    """Which samples carry the trigger and are labelled with its target, boolean [N]."""
    same = (trigger.apply(samples.images) == samples.images).flatten(1).all(dim=1)
    shown: Bool = (same & (samples.labels == trigger.target)).cpu().numpy()
    return shown


def _says(teacher: Teacher, samples: Samples) -> Int:
    if len(samples) == 0:
        return np.zeros(0, dtype=np.int64)
    mean = teacher.log_probabilities(samples.images).mean(dim=0)
    labels: Int = mean.argmax(dim=1).cpu().numpy()
    return labels
