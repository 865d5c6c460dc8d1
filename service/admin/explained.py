"""Every setting of a model's policy in words: what it limits, and what another value would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import drift, policy

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Is it forgotten?": (
        "thresholds.auc_band",
        "thresholds.ks_quantile",
        "thresholds.erased_gap",
        "thresholds.conformal_level",
        "thresholds.conformal_quantile",
        "thresholds.trigger_rise",
        "thresholds.relearning_ratio",
        "thresholds.level",
    ),
    "Is everything else still known?": (
        "thresholds.accuracy_loss",
        "thresholds.class_loss",
        "thresholds.calibration_loss",
        "thresholds.drift_loss",
        "thresholds.neighbour_loss",
        "thresholds.membership_rise",
    ),
    "When is the model trained anew?": (
        "budget.erased_share",
        "budget.jobs",
        "budget.accuracy_lost",
        "budget.days",
    ),
}
"""Settings that are numbers, by the question that they answer."""

WORDS: Mapping[str, tuple[str, str, str]] = {
    "thresholds.auc_band": (
        "Membership (G1)",
        "How far the chance to tell erased samples from held-out ones may lie from one half.",
        "Smaller is stricter and needs more erased samples to decide; with too few of them the "
        "verdict is inconclusive.",
    ),
    "thresholds.ks_quantile": (
        "Distribution of scores (G2)",
        "The erased samples' scores may differ from held-out ones no more than this share of "
        "random groups that the model never saw.",
        "Smaller is stricter, and fails more models that have forgotten.",
    ),
    "thresholds.erased_gap": (
        "Accuracy on erased samples (G2)",
        "How far the accuracy on erased samples may lie from that on held-out ones, either way.",
        "Smaller is stricter. Three standard errors are always allowed.",
    ),
    "thresholds.conformal_level": (
        "Single samples: level (G3)",
        "An erased sample counts as conspicuous when so few held-out ones are as extreme.",
        "Smaller looks at fewer, more extreme samples.",
    ),
    "thresholds.conformal_quantile": (
        "Single samples: how many (G3)",
        "So sure one must be that there are more conspicuous samples than chance gives.",
        "Smaller is stricter, and fails more models that have forgotten.",
    ),
    "thresholds.trigger_rise": (
        "Triggers and wrong labels (G4)",
        "How much more often than for clean samples a planted trigger may still work.",
        "Smaller is stricter.",
    ),
    "thresholds.relearning_ratio": (
        "Relearning (G8)",
        "How much faster than fresh samples the erased ones may be learnt again.",
        "Smaller is stricter; 1 allows no difference. Only where relearning is run.",
    ),
    "thresholds.level": (
        "Error level of the tests together",
        "The chance to fail a model that has forgotten, over the tests of G1 to G4 (Holm).",
        "Smaller fails fewer good models, and overlooks more bad ones.",
    ),
    "thresholds.accuracy_loss": (
        "Accuracy lost (G5)",
        "What one job may cost in accuracy on the utility split.",
        "Smaller keeps the model better, and sends more jobs up to an exact retraining.",
    ),
    "thresholds.class_loss": (
        "Accuracy lost in one class (G5)",
        "The same, in the class that loses most.",
        "Smaller keeps every class better, and retrains more often.",
    ),
    "thresholds.calibration_loss": (
        "Calibration lost (G5)",
        "How much less the model's probabilities may match how often it is right.",
        "Smaller is stricter.",
    ),
    "thresholds.drift_loss": (
        "Accuracy lost in all (G5)",
        "What all jobs since the last exact training may cost together.",
        "Smaller brings the next exact retraining nearer.",
    ),
    "thresholds.neighbour_loss": (
        "Neighbours (G6)",
        "How much accuracy the remaining samples most like the erased ones may lose.",
        "Smaller protects people who resemble the one who left.",
    ),
    "thresholds.membership_rise": (
        "Those who remain (G6)",
        "How much easier it may become to tell who is still in the training data.",
        "Smaller protects those who remain.",
    ),
    "budget.erased_share": (
        "Share erased",
        "Train anew when so large a share of the training samples was erased since the last time.",
        "Smaller retrains more often: dearer, and closer to having never seen the samples.",
    ),
    "budget.jobs": (
        "Jobs",
        "Train anew after so many approximate jobs.",
        "Smaller retrains more often.",
    ),
    "budget.accuracy_lost": (
        "Accuracy lost",
        "Train anew when approximate jobs together have cost so much accuracy.",
        "Smaller retrains more often.",
    ),
    "budget.days": (
        "Days",
        "Train anew when the last exact training is so many days ago.",
        "Smaller retrains more often.",
    ),
}
"""Title, what it limits, what a smaller value does."""

SCHEDULING: Mapping[str, tuple[str, str, str]] = {
    "scheduling.class": (
        "Class of its jobs",
        "Only workers that serve this class run them (lethe worker --classes).",
        "by the model's architecture",
    ),
    "scheduling.tenant": (
        "Shares its turn with",
        "Models with the same name here share one turn; each other model has one of its own.",
        "nobody",
    ),
    "scheduling.weight": (
        "Weight of its turn",
        "A turn of weight 2 gets twice the workers' time of one of weight 1. Due dates that press "
        "go first in any case.",
        "1",
    ),
    "scheduling.memory_mb": (
        "Memory of a job, in MB",
        "Only a worker whose device has so much takes its jobs.",
        "as the last job took, estimated before the first",
    ),
}
"""Title, what it does, what holds where nothing is said."""

POWER = 0.79
"""Erased samples that give G1 a power of 80 %, times its band squared: docs/verification.md."""


@dataclass(frozen=True)
class Explained:
    """One setting: its value in force, its default, where it may lie, and words for people."""

    name: str
    title: str
    what: str
    effect: str
    value: float
    default: float
    most: float

    @property
    def changed(self) -> bool:
        """Is it not the default?"""
        return self.value != self.default


@dataclass(frozen=True)
class Said:
    """How jobs are scheduled: what is said of it ("" for nothing), and what holds then."""

    name: str
    title: str
    what: str
    value: str
    otherwise: str


def scheduling(stored: policy.Policy) -> list[Said]:
    """Which workers run a model's jobs, and whose turn it is."""
    said = stored.get("scheduling", {})
    return [
        Said(name, title, what, _shown(said.get(name.partition(".")[2])), otherwise)
        for name, (title, what, otherwise) in SCHEDULING.items()
    ]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:g}"


def explained(stored: policy.Policy) -> list[tuple[str, list[Explained]]]:
    """Every number of a policy, by the question that it answers."""
    in_force = policy.settings(policy.in_force(stored))
    return [
        (question, [_one(name, in_force[name]) for name in names])
        for question, names in GROUPS.items()
    ]


def change_of(form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a form asks for, as `policy.change` takes it; and fields that are no numbers.

    An empty field resets a setting to its default.
    """
    change: dict[str, Any] = {"thresholds": {}, "budget": {}}
    wrong: dict[str, str] = {}
    for name in WORDS:
        text = form.get(name, "").strip()
        part, _, key = name.partition(".")
        try:
            change[part][key] = _number(name, text) if text else None
        except ValueError:
            wrong[name] = "must be a number"
    change["scheduling"] = {}
    for name in SCHEDULING:
        text, key = form.get(name, "").strip(), name.partition(".")[2]
        try:
            number = key in ("weight", "memory_mb")
            said = _number(name, text) if number and text else text
            change["scheduling"][key] = said or None
        except ValueError:
            wrong[name] = "must be a number"
    if form.get("inconclusive"):
        change["inconclusive"] = form["inconclusive"]
    change["relearning"] = True if form.get("relearning") else None
    return change, wrong


_WHOLE = ("budget.jobs", "scheduling.memory_mb")


def _number(name: str, text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return int(number) if name in _WHOLE and number == int(number) else number


def _one(name: str, value: float) -> Explained:
    title, what, effect = WORDS[name]
    part, _, key = name.partition(".")
    most = drift.MOST[key] if part == "budget" else policy.THRESHOLDS[key].most
    if name == "thresholds.auc_band":
        effect += f" At {value:g} it takes about {math.ceil(POWER / value**2):,} of them."
    return Explained(name, title, what, effect, value, policy.DEFAULTS[name], most)
