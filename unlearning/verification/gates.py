"""The gates that a candidate passes before it is served, and their verdict.

Two-sided: the target is a model that never saw the erased samples, so that doing much worse
on them fails as doing much better does. A passed gate is "no evidence of remembering under
these tests, at this power", never a guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from unlearning.samples import Samples
from unlearning.verification.trigger import TriggerRates
from unlearning.vib import VIB

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

ONE_SIDED_95 = 1.645
"""Standard normal quantile of a one-sided 95 % bound."""


@dataclass(frozen=True)
class Thresholds:
    """Limits of the gates, as shares 0..1 unless said otherwise.

    accuracy_loss: on the utility split. erased_gap: between erased and held-out accuracy, or
    `erased_gap_errors` standard errors where that is more. trigger_rise: of the trigger's
    success above the rate at which clean images are given its target.
    decidable: erased samples under which the comparison with held-out ones decides nothing.
    """

    accuracy_loss: float = 0.005
    erased_gap: float = 0.03
    erased_gap_errors: float = 3.0
    trigger_rise: float = 0.10
    decidable: int = 30


@dataclass(frozen=True)
class Gate:
    """One gate's figure: `statistic` within [`low`, `high`] was compared with `limit`."""

    name: str
    what: str
    statistic: float
    low: float
    high: float
    limit: float
    samples: int
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The gate in JSON's own types."""
        return asdict(self)


def correct(model: VIB, samples: Samples) -> Tensor:
    """Which samples get their label at z = mu, boolean [N]."""
    return (model.logits(samples.images).argmax(dim=1) == samples.labels.to(model.device)).cpu()


def utility_gate(before_N: Tensor, after_N: Tensor, thresholds: Thresholds) -> Gate:  # noqa: N803
    """Accuracy lost on the utility split; fails when even its lower bound exceeds the limit.

    before_N, after_N: boolean [N], the same samples under both models. The bound is of the
    paired difference (McNemar's setting): mean - 1.645 sd / sqrt(N).
    """
    loss = before_N.double() - after_N.double()
    mean = float(loss.mean())
    error = float(loss.std(unbiased=False)) / math.sqrt(len(loss))
    low, high = mean - ONE_SIDED_95 * error, mean + ONE_SIDED_95 * error
    failed = low > thresholds.accuracy_loss
    return Gate(
        "utility",
        "accuracy lost on held-out utility samples",
        mean,
        low,
        high,
        thresholds.accuracy_loss,
        len(loss),
        "FAIL" if failed else "PASS",
    )


def erased_gate(
    erased_right_E: Tensor,  # noqa: N803
    erased_labels_E: Tensor,  # noqa: N803
    held_right_H: Tensor,  # noqa: N803
    held_labels_H: Tensor,  # noqa: N803
    thresholds: Thresholds,
) -> Gate:
    """Accuracy on erased samples against held-out ones of the same classes, in both directions.

    Boolean [E] and [H] with their labels; classes are weighted as in E. The standard error is
    that of the difference of two proportions, class by class.
    """
    gap, variance, used = 0.0, 0.0, 0
    for label in torch.unique(erased_labels_E).tolist():
        erased = erased_right_E[erased_labels_E == label].double()
        held = held_right_H[held_labels_H == label].double()
        if len(held) == 0:
            continue
        weight = len(erased) / len(erased_labels_E)
        # Laplace's rule keeps the variance of a handful of right answers above zero.
        p_e = (float(erased.sum()) + 1) / (len(erased) + 2)
        p_h = (float(held.sum()) + 1) / (len(held) + 2)
        gap += weight * (float(erased.mean()) - float(held.mean()))
        variance += weight**2 * (p_e * (1 - p_e) / len(erased) + p_h * (1 - p_h) / len(held))
        used += len(erased)
    error = math.sqrt(variance)
    limit = max(thresholds.erased_gap, thresholds.erased_gap_errors * error)
    verdict: Verdict = "PASS"
    if abs(gap) > limit:
        verdict = "FAIL"
    elif used < thresholds.decidable:
        verdict = "INCONCLUSIVE"
    return Gate(
        "erased_accuracy",
        "accuracy on erased samples less that on held-out ones of their classes",
        gap,
        gap - ONE_SIDED_95 * error,
        gap + ONE_SIDED_95 * error,
        limit,
        used,
        verdict,
    )


def contradicted_gate(
    given_label_F: Tensor,  # noqa: N803
    thresholds: Thresholds,
) -> Gate:
    """Erased samples whose label their neighbours contradict must not be given it any more.

    given_label_F: boolean [F], whether the model still answers the erased (wrong) label.
    """
    return _rate_gate(
        "contradicted_labels",
        "erased samples still given a label that their neighbours contradict",
        float(given_label_F.double().mean()),
        len(given_label_F),
        thresholds.trigger_rise,
    )


def trigger_gate(rates: TriggerRates, clean_rate: float, thresholds: Thresholds) -> Gate:
    """The planted trigger on held-out images: its target no oftener than by chance + 0.10.

    clean_rate: how often the same images, clean, are given the target.
    """
    return _rate_gate(
        "trigger",
        "held-out images with the trigger that are given its target",
        rates.success,
        rates.samples,
        clean_rate + thresholds.trigger_rise,
    )


def _rate_gate(name: str, what: str, rate: float, n: int, limit: float) -> Gate:
    """FAIL when the rate exceeds the limit; INCONCLUSIVE when only its 95 % bound does.

    Wilson's score interval (J. Am. Stat. Assoc. 1927), which holds for rates near 0.
    """
    z = ONE_SIDED_95
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    verdict: Verdict = "FAIL" if rate > limit else "INCONCLUSIVE" if high > limit else "PASS"
    return Gate(name, what, rate, low, high, limit, n, verdict)


def verdict_of(gates: Sequence[Gate]) -> Verdict:
    """FAIL if any gate fails; else INCONCLUSIVE if any is; else PASS."""
    verdicts = {gate.verdict for gate in gates}
    if "FAIL" in verdicts:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "PASS"
