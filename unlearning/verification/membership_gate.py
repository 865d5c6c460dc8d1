"""G1: can erased samples be told from held-out ones by a score?"""

from __future__ import annotations

import scipy

from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.placements import Z90, auc, power_of_band
from unlearning.verification.power import detectable_auc
from unlearning.verification.scores import SCORES, Scores
from unlearning.verification.thresholds import Thresholds

CITATION = "DeLong et al. 1988 (interval); Schuirmann 1987 (two one-sided tests)"


def membership_gates(erased: Scores, held: Scores, limits: Thresholds) -> list[Gate]:
    """One test for each score: the class-weighted AUC's 90 % interval against 0.5 +- band.

    FAIL when it lies wholly outside, PASS when wholly inside, else INCONCLUSIVE. Two-sided:
    an AUC far under 0.5 gives the person away as one far above does. The p-value is of the
    AUC lying within the band.
    """
    gates = []
    for name in SCORES:
        found = auc(erased.named(name), erased.labels, held.named(name), held.labels)
        if found is None:
            continue
        low, high = found.value - Z90 * found.error, found.value + Z90 * found.error
        least, most = 0.5 - limits.auc_band, 0.5 + limits.auc_band
        verdict: Verdict = "INCONCLUSIVE"
        if low > most or high < least:
            verdict = "FAIL"
        elif least <= low and high <= most:
            verdict = "PASS"
        beyond = abs(found.value - 0.5) - limits.auc_band
        gates.append(
            Gate(
                "G1",
                f"membership_{name}",
                f"AUC of erased against held-out samples of their classes, by {name}",
                found.value,
                max(0.0, low),
                min(1.0, high),
                least,
                most,
                found.erased,
                verdict,
                p_value=float(scipy.stats.norm.sf(beyond / found.error)),
                power=power_of_band(limits.auc_band, found.null_error),
                detectable=detectable_auc(
                    found.erased, found.held_out, limits.auc_band, limits.level
                ),
                citation=CITATION,
                detail={"standard_error": found.error, "held_out": found.held_out},
            )
        )
    return gates
