"""What the gates would find, by their own functions and by simulation through the gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from unlearning.verification.conformal_gate import conformal_gates
from unlearning.verification.distribution_gate import distribution_gates
from unlearning.verification.gate import Gate, holm
from unlearning.verification.label_gates import trigger_gate
from unlearning.verification.membership_gate import membership_gates
from unlearning.verification.placements import power_of_band
from unlearning.verification.power import (
    TESTS,
    detectable_auc,
    detectable_count,
    detectable_distance,
    detectable_gap,
    detectable_rate,
)
from unlearning.verification.scores import Scores
from unlearning.verification.thresholds import Thresholds
from unlearning.verification.trigger import TriggerRates

SIZES = (10, 30, 100, 300, 3600)
GROWTH = (1, 3, 10, 30, 50, 80, 100, 200, 300)
CLASSES = 10
ACCURACY = 0.97  # of held-out samples
LIMITS = Thresholds()

Row = dict[str, Any]
Draw = np.random.Generator


def detectable(held: int, repeats: int) -> list[Row]:
    """A row for each size and gate: the least difference that fails with 80 % power by the
    gate's function, and how often a difference of that size failed, Holm included."""
    return [row for n in SIZES for row in _of_size(n, held, repeats)]


def _of_size(n: int, held: int, repeats: int) -> list[Row]:
    null = _gates(_scores(n, 0), _scores(held, 1))
    outliers = _named("outliers_high", null)
    root = np.sqrt(n * held / (n + held))
    a = detectable_auc(n, held, LIMITS.auc_band, LIMITS.level)
    d = detectable_distance(float(stats.kstwobign.ppf(LIMITS.ks_quantile))) / root
    lost = detectable_gap(n, ACCURACY, _named("erased_accuracy", null).least)
    count = detectable_count(n, outliers.most)
    rate = detectable_rate(n, LIMITS.trigger_rise, LIMITS.level)
    found: list[tuple[str, str, float | None, Callable[[float, Draw], Gate]]] = [
        ("membership_margin", "AUC", a, lambda x, rng: _shifted(n, held, x, rng)),
        (
            "distribution",
            "distance",
            d if d < 0.5 else None,
            lambda x, rng: _apart(n, held, x, rng),
        ),
        (
            "erased_accuracy",
            "accuracy lost",
            None if lost is None else -lost,
            lambda x, rng: _wrong(n, held, x, rng),
        ),
        (
            "outliers_high",
            "share of outliers",
            None if count is None else count / n,
            lambda x, rng: _outlying(n, held, x, rng),
        ),
        ("trigger", "rate", rate, lambda x, rng: _triggered(n, held, x, rng)),
    ]
    return [
        {
            "samples": n,
            "gate": name,
            "difference": what,
            "found": value,
            "simulated": _failing(value, simulate, n, repeats),
        }
        for name, what, value, simulate in found
    ]


def _failing(
    value: float | None, simulate: Callable[[float, Draw], Gate], n: int, repeats: int
) -> float | None:
    if value is None:
        return None
    rng = np.random.default_rng(n)
    return sum(simulate(value, rng).verdict == "FAIL" for _ in range(repeats)) / repeats


def growth(held: int, repeats: int) -> list[Row]:
    """How G1 comes to decide as samples are batched: of models that never saw them, the share
    that passes by the gate's function and by simulation, the share that fails, and the AUC that
    would be found."""
    rows = []
    for n in GROWTH:
        rng = np.random.default_rng(n)
        drawn = [
            membership_gates(_scores(n, rng), _scores(held, rng), LIMITS)[0] for _ in range(repeats)
        ]
        verdicts = [gate.verdict for gate in drawn]
        proven = [(gate.p_value or 0.0) <= LIMITS.level / TESTS for gate in drawn]
        failing = [v == "FAIL" and p for v, p in zip(verdicts, proven, strict=True)]
        rows.append(
            {
                "samples": n,
                "passes": power_of_band(LIMITS.auc_band, np.sqrt((n + held + 1) / (12 * n * held))),
                "passes_simulated": verdicts.count("PASS") / repeats,
                "fails_simulated": sum(failing) / repeats,
                "auc_found": detectable_auc(n, held, LIMITS.auc_band, LIMITS.level),
            }
        )
    return rows


def draw(rows: Sequence[Row], file: Path) -> None:
    """The growth as a figure."""
    import matplotlib as mpl  # only this needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [row["samples"] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axes.plot(sizes, [row["passes"] for row in rows], label="a model that forgot passes G1")
    axes.plot(sizes, [row["passes_simulated"] for row in rows], "o", label="simulated")
    axes.plot(
        *zip(*((r["samples"], r["auc_found"]) for r in rows if r["auc_found"]), strict=True),
        label="AUC that fails with 80 % power",
    )
    axes.set(xscale="log", xlabel="erased samples in one job", ylim=(-0.03, 1.03))
    axes.axhline(0.8, color="grey", linewidth=0.5)
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _scores(n: int, rng: Draw | int) -> Scores:
    """n samples as a model gives them that never saw them, their classes even."""
    rng = np.random.default_rng(rng)
    return Scores(
        margin=rng.normal(size=n),
        representation=rng.normal(size=n),
        labels=np.arange(n) % CLASSES,
        right=rng.random(n) < ACCURACY,
        confidence=np.ones(n),
        mu=np.zeros((n, 1), dtype=np.float32),
    )


def _gates(erased: Scores, held: Scores, *more: Gate) -> list[Gate]:
    """G1 to G3 and what else there is, corrected."""
    found = membership_gates(erased, held, LIMITS) + distribution_gates(erased, held, LIMITS)
    return holm([*found, *conformal_gates(erased, held, LIMITS), *more], LIMITS.level)


def _named(name: str, gates: Sequence[Gate]) -> Gate:
    return next(gate for gate in gates if gate.name == name)


def _shifted(n: int, held: int, auc: float, rng: Draw) -> Gate:
    """Normal margins whose AUC is `auc`."""
    erased = _scores(n, rng)
    moved = replace(erased, margin=erased.margin + np.sqrt(2) * stats.norm.ppf(min(auc, 1 - 1e-9)))
    return _named("membership_margin", _gates(moved, _scores(held, rng)))


def _apart(n: int, held: int, distance: float, rng: Draw) -> Gate:
    """Margins of which `distance` more than half lie in the upper half: F_E is that far from F_H
    at the median, and nowhere farther."""
    upper = rng.random(n) < 0.5 + distance
    margin = stats.norm.ppf(np.where(upper, 0.5, 0.0) + rng.random(n) / 2)
    return _named(
        "distribution", _gates(replace(_scores(n, rng), margin=margin), _scores(held, rng))
    )


def _wrong(n: int, held: int, gap: float, rng: Draw) -> Gate:
    erased = replace(_scores(n, rng), right=rng.random(n) < ACCURACY - gap)
    return _named("erased_accuracy", _gates(erased, _scores(held, rng)))


def _outlying(n: int, held: int, share: float, rng: Draw) -> Gate:
    """`share` of the margins beyond everything, those included that lie there anyway."""
    erased = _scores(n, rng)
    extra = (share - LIMITS.conformal_level) / (1 - LIMITS.conformal_level)
    margin = np.where(rng.random(n) < extra, 10.0, erased.margin)
    return _named("outliers_high", _gates(replace(erased, margin=margin), _scores(held, rng)))


def _triggered(n: int, held: int, rate: float, rng: Draw) -> Gate:
    """n images with the trigger, each given its target with chance `rate`, clean ones never."""
    hits = int(rng.binomial(n, rate))
    gate = trigger_gate(TriggerRates(hits / n, 0.0, n), 0.0, LIMITS)
    return _named("trigger", _gates(_scores(n, rng), _scores(held, rng), gate))
