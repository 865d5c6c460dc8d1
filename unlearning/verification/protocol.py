"""The whole protocol: every gate that there are samples for, corrected, and one verdict.

What it claims, everywhere: no evidence of remembering under these tests, at this power. An
approximate method has no guarantee, and none is given.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from unlearning.samples import Samples
from unlearning.teacher import Teacher
from unlearning.triggers import Trigger
from unlearning.verification.collateral_gates import (
    membership_rise_gate,
    neighbour_gate,
    scope_gate,
)
from unlearning.verification.conformal_gate import conformal_gates
from unlearning.verification.contradictions import Contradictions, find_contradictions, shows
from unlearning.verification.distribution_gate import distribution_gates
from unlearning.verification.gate import Gate, Verdict, holm, verdict_of
from unlearning.verification.label_gates import (
    canary_gate,
    contradicted_gate,
    no_canaries_left,
    trigger_gate,
)
from unlearning.verification.membership_gate import membership_gates
from unlearning.verification.power import detectable_rate
from unlearning.verification.relearning_gate import relearning_gate
from unlearning.verification.scores import Bool, Scores, score
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.trigger import trigger_rates
from unlearning.verification.utility_gates import utility_gates
from unlearning.vib import VIB

_SETS = ("erased", "held", "test", "remaining")

MOST_REMAINING = 20_000
"""Remaining samples that the gates look at, at most."""


@dataclass(frozen=True, eq=False)
class Canaries:
    """One group: every canary of it, and which of them had been trained on, boolean [K]."""

    samples: Samples
    trained: Bool


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a verification may look at.

    erased: E, the samples that were trained on and erased. remaining: D_r or a random part.
    held: H, which no optimiser ever saw. test: T, for utility. teacher: made from R; without
    one no sample counts as contradicted. trigger: the one that was planted, if one was.
    canaries: the group that this job erased; no_canaries_left: there was none to erase any
    more, where once there had been. earlier: groups erased by jobs before (G7).
    drift_so_far: accuracy lost since the last exact retraining.
    """

    erased: Samples
    remaining: Samples
    held: Samples
    test: Samples
    teacher: Teacher | None = None
    trigger: Trigger | None = None
    canaries: Canaries | None = None
    no_canaries_left: bool = False
    earlier: Sequence[Canaries] = ()
    drift_so_far: float = 0.0


@dataclass(frozen=True, eq=False)
class Scored:
    """One pass of a model over the sets of the evidence, of what remains a part spread evenly."""

    erased: Scores
    held: Scores
    remaining: Scores
    test: Scores


@dataclass(frozen=True, eq=False)
class Report:
    """gates: all of them, corrected. decisive: those that the verdict is made of.
    contradicted: erased samples left out of G1 to G3. seconds: what it took. before, after:
    what the gates looked at, None of a check of utility alone."""

    verdict: Verdict
    gates: list[Gate]
    decisive: list[Gate]
    contradicted: int
    seconds: float
    before: Scored | None = None
    after: Scored | None = None


def score_sets(
    model: VIB, *, erased: Samples, remaining: Samples, held: Samples, test: Samples
) -> Scored:
    """Everything that gates and figures ask of a model's predictions, by one pass each."""
    return Scored(
        erased=score(model, erased),
        held=score(model, held),
        remaining=score(model, _spread(remaining)),
        test=score(model, test),
    )


def _spread(remaining: Samples) -> Samples:
    """MOST_REMAINING at most, evenly over their order, which may be that of their classes."""
    if len(remaining) <= MOST_REMAINING:
        return remaining
    return remaining[torch.linspace(0, len(remaining) - 1, MOST_REMAINING).long()]


def verify(
    before: VIB,
    after: VIB,
    evidence: Evidence,
    limits: Thresholds | None = None,
    *,
    exact: bool = False,
    relearning: bool = False,
    seed: int = 0,
) -> Report:
    """Run the protocol on a candidate. exact: it was retrained, so that only G5 decides.
    relearning: with G8.

    Raises ValueError without erased, held-out, test or remaining samples.
    """
    started = time.perf_counter()
    limits = limits or Thresholds()
    for name in _SETS:
        if len(getattr(evidence, name)) == 0:
            raise ValueError(f"verification needs {name} samples")
    sets = {name: getattr(evidence, name) for name in _SETS}
    was, now = (score_sets(model, **sets) for model in (before, after))
    found = _contradictions(evidence)
    drift = evidence.drift_so_far
    gates = [scope_gate(was.erased, was.held, was.remaining)]
    gates += _forgetting_gates(now.erased, now.held, found, limits, seed)
    gates += _label_gates(after, now.erased, now.held, found, evidence, limits)
    gates += _canary_gates(before, after, evidence, limits)
    gates += utility_gates(was.test, now.test, limits, drift_so_far=drift, seed=seed)
    gates.append(neighbour_gate(was.erased, was.remaining, now.remaining, limits))
    gates.append(membership_rise_gate(was.remaining, now.remaining, was.held, now.held, limits))
    gates += _reversal_gates(after, evidence.earlier, limits)
    if relearning:
        gates.append(
            relearning_gate(
                after,
                evidence.erased,
                evidence.held,
                found,
                limits,
                evidence.trigger,
                seed=seed,
            )
        )
    gates = holm(gates, limits.level)
    decisive = [g for g in gates if g.gate == "G5"] if exact else gates
    return Report(
        verdict_of(decisive),
        gates,
        decisive,
        int(found.erased_E.sum()) if found is not None and found.excess else 0,
        time.perf_counter() - started,
        was,
        now,
    )


def check_utility(
    before: VIB, after: VIB, test: Samples, limits: Thresholds | None = None, *, seed: int = 0
) -> Report:
    """G5 alone: for a retraining on everything that was there, which erased nothing."""
    started = time.perf_counter()
    limits = limits or Thresholds()
    gates = utility_gates(score(before, test), score(after, test), limits, seed=seed)
    return Report(verdict_of(gates), gates, gates, 0, time.perf_counter() - started)


def _contradictions(evidence: Evidence) -> Contradictions | None:
    if evidence.teacher is None:
        return None
    return find_contradictions(evidence.teacher, evidence.erased, evidence.held, evidence.trigger)


def _forgetting_gates(
    erased: Scores, held: Scores, found: Contradictions | None, limits: Thresholds, seed: int
) -> list[Gate]:
    """G1 to G3, on the samples that are exchangeable with held-out ones."""
    if found is not None:
        erased, held = erased.of(found.ordinary_E), held.of(found.ordinary_H)
    if len(erased) == 0 or len(held) == 0:
        return []
    return [
        *membership_gates(erased, held, limits),
        *distribution_gates(erased, held, limits, seed),
        *conformal_gates(erased, held, limits),
    ]


def _label_gates(
    after: VIB,
    erased: Scores,
    held: Scores,
    found: Contradictions | None,
    evidence: Evidence,
    limits: Thresholds,
) -> list[Gate]:
    """G4."""
    gates = []
    contradicted = contradicted_gate(erased, held, found, limits) if found is not None else None
    if contradicted is not None:
        gates.append(contradicted)
    trigger = evidence.trigger
    unseen = Samples.concat(evidence.test, evidence.held)
    if trigger is not None and carries(trigger, evidence.erased):
        clean = unseen[unseen.labels == trigger.source]
        if len(clean):
            given = after.logits(clean.images).argmax(dim=1) == trigger.target
            rates = trigger_rates(after, unseen, trigger)
            gates.append(trigger_gate(rates, float(given.float().mean()), limits))
    return gates


def _canary_gates(before: VIB, after: VIB, evidence: Evidence, limits: Thresholds) -> list[Gate]:
    """G4, where canaries had been planted."""
    group = evidence.canaries
    if group is None:
        return [no_canaries_left()] if evidence.no_canaries_left else []
    was, now = (score(model, group.samples).margin for model in (before, after))
    return [canary_gate(now, np.asarray(group.trained), limits, was)]


def carries(trigger: Trigger, samples: Samples) -> bool:
    """Do at least half of the samples that are labelled with its target show the trigger?

    Only a model that unlearnt triggered samples owes it that the trigger is gone.
    """
    mine = (samples.labels == trigger.target).sum()
    return bool(mine > 0 and 2 * shows(trigger, samples).sum() >= mine)


def _reversal_gates(after: VIB, earlier: Sequence[Canaries], limits: Thresholds) -> list[Gate]:
    """G7: the coins of groups that earlier jobs erased must stay unguessable.

    Bonferroni over the groups: there is one more with every job.
    """
    if not earlier:
        return []
    shared = limits.level / len(earlier)
    gates = [
        canary_gate(
            score(after, group.samples).margin,
            np.asarray(group.trained),
            replace(limits, level=shared),
        )
        for group in earlier
    ]
    worst = min(gates, key=lambda gate: gate.p_value or 0.0)
    return [
        replace(
            worst,
            gate="G7",
            name="reversal",
            what="the canary group of an earlier job that is guessed best",
            p_value=min(1.0, (worst.p_value or 0.0) * len(gates)),
            detectable=detectable_rate(worst.samples, 0.5, shared / 2.0, tests=1),
            detail={"groups": len(gates), "caught": worst.detail["caught"]},
        )
    ]
