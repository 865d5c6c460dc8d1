"""What a job's verification looks at, and the figures that it records beside the gates."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import canaries, policy
from core.records import CanaryGroup
from unlearning import (
    VIB,
    Samples,
    Teacher,
    Trigger,
    TriggerRates,
    trigger_rates,
)
from unlearning.verification.placements import auc
from unlearning.verification.protocol import Canaries, Evidence, Scored, score_sets
from unlearning.verification.scores import SCORES, Scores
from unlearning.verification.thresholds import Thresholds
from worker.context import Context
from worker.teaching import current_teacher


def thresholds_of(context: Context) -> Thresholds:
    """The model's thresholds: the defaults, and what its policy sets otherwise."""
    return Thresholds.from_dict(policy.in_force(context.model.policy)["thresholds"])


def evidence_of(context: Context) -> Evidence:
    """The sets of the protocol; the teacher is made if there is none for these references."""
    group, earlier, spent = _canaries_of(context)
    return Evidence(
        erased=context.erased_train,
        remaining=context.remaining,
        held=context.heldout,
        test=context.test,
        teacher=_teacher(context),
        trigger=trigger_of(context),
        canaries=group,
        no_canaries_left=spent,
        earlier=earlier,
        drift_so_far=context.base.metrics["drift"]["accuracy_lost"],
    )


def _canaries_of(context: Context) -> tuple[Canaries | None, list[Canaries], bool]:
    """The job's canary group, those of earlier jobs, and whether there was none left for it."""
    with context.engine.backend.db.reading() as session:
        earlier = canaries.spent_before(session, context.job)
        planted = context.dataset.id in canaries.counts(session)
    mine = context.canary_group
    drawn = _drawn(context, mine) if mine is not None else None
    return drawn, [_drawn(context, group) for group in earlier], planted and mine is None


def _drawn(context: Context, group: CanaryGroup) -> Canaries:
    drawn = canaries.of_group(group, context.dataset)
    return Canaries(Samples.from_numpy(drawn.images, drawn.labels), drawn.trained)


def _teacher(context: Context) -> Teacher:
    return current_teacher(
        context.engine,
        context.model,
        context.references,
        seed=context.dataset.seed,
        should_stop=context.heart.should_stop,
    )


def trigger_of(context: Context) -> Trigger | None:
    """The trigger planted at import, if there was one."""
    planted = context.dataset.planted
    return Trigger.from_dict(planted) if planted else None


def measure(context: Context, model: VIB, scored: Scored | None = None) -> dict[str, Any]:
    """The figures of one model; shares 0..1, None where there is nothing to measure on.

    scored: what its gates have looked at, so that it need not be asked again.
    """
    rates = _rates(model, context.unseen, trigger_of(context))
    seen = scored or score_sets(
        model,
        erased=context.erased_train,
        remaining=context.remaining,
        held=context.heldout,
        test=context.test,
    )
    membership = auc(seen.erased.margin, seen.erased.labels, seen.held.margin, seen.held.labels)
    return {
        "remaining_accuracy": _accuracy(seen.remaining),
        "heldout_accuracy": _accuracy(seen.held),
        "test_accuracy": _accuracy(seen.test),
        "erased_accuracy": _accuracy(seen.erased),
        "membership_auc": membership.value if membership else None,
        "trigger_success": rates.success if rates else None,
        "trigger_undone": rates.undone if rates else None,
        "seconds": None,
    }


BINS = 24
"""Of a histogram: coarse enough that it shows how many are where, and not which."""


FEWEST_DRAWN = 20
"""Erased samples below which no histogram is kept: the score of a single one could be read off,
after the person was forgotten."""


def histograms(before: Scored, after: Scored) -> dict[str, Any] | None:
    """By score: edges [BINS + 1], and how many erased and held-out samples lie between them;
    None for fewer than `FEWEST_DRAWN` erased ones.

    The edges span all but the outermost hundredths, which are counted in the bins at the ends.
    """
    if len(after.erased.named(SCORES[0])) < FEWEST_DRAWN:
        return None
    found: dict[str, Any] = {}
    for name in SCORES:
        sets = {
            "erased_before": before.erased.named(name),
            "erased_after": after.erased.named(name),
            "heldout_before": before.held.named(name),
            "heldout_after": after.held.named(name),
        }
        low, high = np.quantile(np.concatenate(list(sets.values())), (0.01, 0.99))
        edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
        found[name] = {"edges": [float(f"{edge:.5g}") for edge in edges]}
        for which, scores in sets.items():
            counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
            found[name][which] = counts.tolist()
    return found


def distance(context: Context, model: VIB, retrained: VIB) -> dict[str, float]:
    """How far a model's predictions on E are from those of an exact retraining.

    kl: mean KL(p_retrained(y|x) || p_model(y|x)) in nats; disagreement: the share of erased
    samples that get another label. Taken before E is destroyed, or never.
    """
    images = context.erased_train.images
    log_p = retrained.logits(images).log_softmax(dim=1)
    log_q = model.logits(images).log_softmax(dim=1)
    kl = (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
    apart = log_p.argmax(dim=1) != log_q.argmax(dim=1)
    return {"kl": float(kl), "disagreement": float(apart.float().mean())}


def _rates(model: VIB, unseen: Samples, trigger: Trigger | None) -> TriggerRates | None:
    if trigger is None or not bool((unseen.labels == trigger.source).any()):
        return None
    return trigger_rates(model, unseen, trigger)


def _accuracy(scores: Scores) -> float | None:
    return float(scores.right.mean()) if len(scores) else None
