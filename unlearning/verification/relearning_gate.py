"""G8 (optional): does the model learn the erased samples again faster than ones it never saw?

What a model gives away by its answers, G1 to G4 see. What only its weights still hold shows
when it is taught a little: the rest comes back (Golatkar et al., CVPR 2020, section 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from unlearning.samples import Samples
from unlearning.triggers import Trigger
from unlearning.verification.contradictions import Contradictions, shows
from unlearning.verification.gate import Gate, Verdict
from unlearning.verification.relearning import parts, teach
from unlearning.verification.scores import Bool, Float, Int
from unlearning.verification.thresholds import Thresholds
from unlearning.vib import VIB

LEAST = 20
"""Erased samples, beside those that are taught, from which their mean can be bootstrapped."""
STEPS = 5
"""Of the lesson. With many, what a few random labels teach spoils what fresh samples start from."""
DRAWS = 1000
"""Of the bootstrap."""
FASTEST = 100.0
"""The greatest ratio that is told."""
NAME = "relearning"

CITATION = "Golatkar et al. 2020 (time to relearn); bootstrap: Efron and Tibshirani 1993"

_Z95, _Z80 = float(stats.norm.ppf(0.95)), float(stats.norm.ppf(0.8))


@dataclass(frozen=True, eq=False)
class Relearned:
    """Losses, -log p of the erased label in nats, before and after the lesson.

    after_n: of the n erased samples that were not taught, after it; before_n: before it.
    group_n: which group each belongs to, 0 .. G - 1: samples of one true class that were given
    one label, with a trigger or without. class_G: the true class of each group. fresh_before,
    fresh_after: for each group the losses of the held-out samples of its class, made alike;
    groups of one class list the same samples in the same order.
    """

    before_n: Float
    after_n: Float
    group_n: Int
    class_G: Int  # noqa: N815
    fresh_before: list[Float]
    fresh_after: list[Float]


def relearn(
    model: VIB,
    erased: Samples,
    held: Samples,
    found: Contradictions | None,
    trigger: Trigger | None = None,
    *,
    seed: int = 0,
) -> Relearned:
    """Teach a copy of the model a random tenth of E, and ask it for the rest and for H.

    A held-out sample is made alike: it is asked for the label that the erased one had, and
    bears the trigger if that did. Its true class is that of the erased one: the label, but
    where the neighbours contradict it what the teacher sees, and a trigger's source where it
    was planted. So a model that saw neither cannot tell them apart, taught or not. Erased
    samples of a class without a held-out one are left out.

    Raises ValueError for fewer than two erased samples.
    """
    home = erased.labels.device
    taught, rest = (part.to(home) for part in parts(len(erased), seed=seed))
    pupil = teach(model, erased[taught], steps=STEPS)
    classes, planted = _origin(erased, found, trigger)
    kinds = np.stack([classes, erased.labels.cpu().numpy(), planted.astype(np.int64)], axis=1)
    held_classes = held.labels.cpu().numpy()
    kept = np.isin(classes[rest.cpu()], held_classes)
    left = erased[rest[torch.from_numpy(kept).to(home)]]
    groups_G, group_n = np.unique(  # noqa: N806
        kinds[rest.cpu()][kept], axis=0, return_inverse=True
    )
    before, after = (_losses(each, left.images) for each in (model, pupil))
    labels = left.labels.cpu().numpy()
    rows = np.arange(len(labels))
    fresh: tuple[list[Float], list[Float]] = ([], [])
    answers: dict[bool, tuple[Float, Float]] = {}
    for true, label, bears in groups_G.tolist():
        if bool(bears) not in answers:
            images = trigger.apply(held.images) if trigger and bears else held.images
            answers[bool(bears)] = (_losses(model, images), _losses(pupil, images))
        for losses, asked in zip(fresh, answers[bool(bears)], strict=True):
            losses.append(asked[held_classes == true, label])
    return Relearned(
        before[rows, labels], after[rows, labels], group_n.reshape(-1), groups_G[:, 0], *fresh
    )


def _origin(
    erased: Samples, found: Contradictions | None, trigger: Trigger | None
) -> tuple[Int, Bool]:
    """The true class of each erased sample, and whether it bears the trigger, [N]."""
    classes = erased.labels.cpu().numpy().copy()
    planted = np.zeros(len(classes), dtype=bool)
    if found is not None and found.excess:
        classes = np.where(found.sure_E, found.says_E, classes)
    if trigger is not None:
        planted = shows(trigger, erased)
        classes[planted] = trigger.source
    return classes, planted


def _losses(model: VIB, images: torch.Tensor) -> Float:
    """-log p of every label, [N, C]."""
    losses: Float = -model.logits(images).log_softmax(dim=1).double().cpu().numpy()
    return losses


def relearning_gate(
    model: VIB,
    erased: Samples,
    held: Samples,
    found: Contradictions | None,
    limits: Thresholds,
    trigger: Trigger | None = None,
    *,
    seed: int = 0,
) -> Gate:
    """`relearn`, and what it shows; INCONCLUSIVE for LEAST samples or fewer."""
    if len(erased) <= LEAST:
        return _too_few(max(0, len(erased) - 1), limits)
    return compare(relearn(model, erased, held, found, trigger, seed=seed), limits, seed)


def compare(seen: Relearned, limits: Thresholds, seed: int = 0) -> Gate:
    """The drop of the rest's mean loss over that of fresh samples, groups weighted as in E.

    Both drops are counted from where a fresh sample starts: one that is half remembered begins
    lower, and is no slower for it. The ratio is 0 where the rest has not dropped, and FASTEST at
    the most, which is also said where the rest has dropped and the fresh samples have not. Its
    90 % interval is bootstrapped over erased samples and, within each class, over held-out ones.

    FAIL when it lies above the limit. PASS when it lies at or below it, if there was something
    to learn: fresh samples were not given the label at the start (a mean loss above log 2), and
    learned some of it in every draw. INCONCLUSIVE else, and for fewer than LEAST samples.

    power and detectable take the rest's drop less `limit` times the fresh one's for normal, with
    the variance that fresh samples show.
    """
    n = len(seen.after_n)
    if n < LEAST:
        return _too_few(n, limits)
    limit = limits.relearning_ratio
    weight_G = np.bincount(seen.group_n, minlength=len(seen.class_G)) / n  # noqa: N806
    start, end = (
        float(weight_G @ np.array([losses.mean() for losses in each]))
        for each in (seen.fresh_before, seen.fresh_after)
    )
    drop_D, fresh_D = _drawn(seen, seed)  # noqa: N806
    low, high = np.quantile(_ratio(drop_D, fresh_D), [0.05, 0.95], method="inverted_cdf")
    learned = start > math.log(2.0) and start > end and bool(fresh_D.min() > 0.0)
    verdict: Verdict = "INCONCLUSIVE"
    if low > limit:
        verdict = "FAIL"
    elif high <= limit and learned:
        verdict = "PASS"
    # Where losses have no spread at all the error is 0.
    error = max(_error(seen, weight_G, limit) / (start - end), 1e-9) if learned else None
    after = float(seen.after_n.mean())
    return Gate(
        "G8",
        NAME,
        "how much faster than fresh samples the erased ones are learned again",
        float(_ratio(np.array([start - after]), np.array([start - end]))[0]),
        float(low),
        float(high),
        0.0,
        limit,
        n,
        verdict,
        p_value=float((1 + (_ratio(drop_D, fresh_D) <= limit).sum()) / (1 + DRAWS)),
        power=float(stats.norm.cdf((limit - 1.0) / error - _Z95)) if error else 0.0,
        detectable=limit + (_Z95 + _Z80) * error if error else None,
        citation=CITATION,
        detail={
            "erased_before": float(seen.before_n.mean()),
            "erased_after": after,
            "fresh_before": start,
            "fresh_after": end,
        },
    )


def _too_few(n: int, limits: Thresholds) -> Gate:
    why = "there are too few erased samples to see what a few steps bring back"
    return Gate(
        *("G8", NAME, why, 0.0, 0.0, FASTEST, 0.0, limits.relearning_ratio, n),
        "INCONCLUSIVE",
        power=0.0,
        citation=CITATION,
    )


def _ratio(drop_D: Float, fresh_D: Float) -> Float:  # noqa: N803
    """drop / fresh, from 0 to FASTEST."""
    rises = np.where(drop_D > 0.0, FASTEST, 0.0)
    ratio = np.divide(drop_D, fresh_D, out=rises, where=fresh_D > 0.0)
    return np.clip(ratio, 0.0, FASTEST)


def _drawn(seen: Relearned, seed: int) -> tuple[Float, Float]:
    """Bootstrapped mean drops of the rest and of fresh samples, both from a fresh start, [D]."""
    rng = np.random.default_rng(seed)
    n, groups = len(seen.after_n), len(seen.class_G)
    chosen_Dn = rng.integers(0, n, (DRAWS, n))  # noqa: N806
    rest_D = seen.after_n[chosen_Dn].mean(axis=1)  # noqa: N806
    cells = np.arange(DRAWS)[:, None] * groups + seen.group_n[chosen_Dn]
    counts = np.bincount(cells.ravel(), minlength=DRAWS * groups)
    share_DG = counts.reshape(DRAWS, groups) / n  # noqa: N806
    start_D, end_D = np.zeros(DRAWS), np.zeros(DRAWS)  # noqa: N806
    for true in np.unique(seen.class_G):
        mine = np.flatnonzero(seen.class_G == true)
        m = len(seen.fresh_after[mine[0]])
        times_Dm = rng.multinomial(m, np.full(m, 1.0 / m), DRAWS) / m  # noqa: N806
        for g in mine:
            start_D += share_DG[:, g] * (times_Dm @ seen.fresh_before[g])  # noqa: N806
            end_D += share_DG[:, g] * (times_Dm @ seen.fresh_after[g])  # noqa: N806
    return start_D - rest_D, start_D - end_D


def _error(seen: Relearned, weight_G: Float, limit: float) -> float:  # noqa: N803
    """The standard error of (1 - limit) start + limit end - rest, the rest being like fresh
    samples, the groups' shares fixed."""
    n = len(seen.after_n)
    variance = float(weight_G @ np.array([each.var() for each in seen.fresh_after])) / n
    for true in np.unique(seen.class_G):
        mine = np.flatnonzero(seen.class_G == true)
        sums = sum(
            weight_G[g] * ((1.0 - limit) * seen.fresh_before[g] + limit * seen.fresh_after[g])
            for g in mine
        )
        variance += float(np.var(sums)) / len(seen.fresh_after[mine[0]])
    return math.sqrt(variance)
