"""A model's policy: what an inconclusive verdict does, the limits of the gates, the drift budget,
and how its jobs are scheduled.

A model stores what was set and nothing else; what is silent has its default. The gates' limits
are `unlearning.verification.thresholds`, which is not known here: names, ranges and defaults
are repeated as data, and a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core import demands, drift
from core.db import Transaction
from core.errors import Invalid
from core.records import Model

INCONCLUSIVE = ("publish", "retrain", "review")
"""What a verdict may do that neither passes nor fails; the first is the default."""


@dataclass(frozen=True)
class Range:
    """Of a number: its default, and where it may lie, above `above` and up to `most`."""

    default: float
    above: float = 0.0
    most: float = 1.0


THRESHOLDS: Mapping[str, Range] = {
    "auc_band": Range(0.10),
    "ks_quantile": Range(0.99),
    "erased_gap": Range(0.03),
    "conformal_level": Range(0.01),
    "conformal_quantile": Range(0.99),
    "trigger_rise": Range(0.10),
    "accuracy_loss": Range(0.005),
    "class_loss": Range(0.03),
    "calibration_loss": Range(0.02),
    "drift_loss": Range(0.01),
    "neighbour_loss": Range(0.02),
    "membership_rise": Range(0.02),
    "relearning_ratio": Range(1.2, most=100.0),
    "level": Range(0.05),
}

PARTS = ("inconclusive", "relearning", "thresholds", "budget", "scheduling")

Policy = dict[str, Any]
"""inconclusive: of INCONCLUSIVE. relearning: is G8 run? thresholds: by name. budget: see
`drift.Budget`. scheduling: see `demands.Demand`; None where the model itself decides."""


def in_force(stored: Policy) -> Policy:
    """The policy with every default filled in."""
    thresholds = {name: each.default for name, each in THRESHOLDS.items()}
    return {
        "inconclusive": stored.get("inconclusive", INCONCLUSIVE[0]),
        "relearning": stored.get("relearning", False),
        "thresholds": thresholds | stored.get("thresholds", {}),
        "budget": asdict(drift.Budget.of(stored)),
        "scheduling": dict.fromkeys(demands.PARTS) | {"weight": 1.0} | stored.get("scheduling", {}),
    }


def settings(policy: Policy) -> dict[str, Any]:
    """A policy in force as one flat table: inconclusive, relearning, thresholds.auc_band, ..."""
    found: dict[str, Any] = {}
    for name, value in policy.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{below}": each for below, each in value.items()}
        else:
            found[name] = value
    return found


DEFAULTS: Mapping[str, Any] = settings(in_force({}))
"""Every setting of a policy that says nothing."""


def deviations(stored: Policy) -> list[dict[str, Any]]:
    """Where the policy in force differs from the defaults: setting, default, in_force."""
    return [
        {"setting": name, "default": DEFAULTS[name], "in_force": value}
        for name, value in settings(in_force(stored)).items()
        if value != DEFAULTS[name]
    ]


def merged(stored: Policy, change: Mapping[str, Any]) -> Policy:
    """A policy after a change: what the change names is set, null resets it (RFC 7396).

    Raises `Invalid` naming every part that is not known or not possible.
    """
    wrong = _wrong(change)
    if wrong:
        findings = [{"where": where, "message": message} for where, message in wrong]
        raise Invalid("; ".join(f"{where}: {message}" for where, message in wrong), findings)
    result = dict(stored)
    for name, value in change.items():
        if isinstance(value, Mapping):
            both = {**stored.get(name, {}), **value}
            result[name] = {each: number for each, number in both.items() if number is not None}
        else:
            result[name] = value
    return {name: value for name, value in result.items() if value not in (None, {})}


def _wrong(change: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong, as (where, what). Null is right wherever the name is known."""
    wrong: list[tuple[str, str]] = []
    for name, value in change.items():
        if name not in PARTS:
            wrong.append((name, f"a policy has no such part; use {', '.join(PARTS)}"))
        elif value is None:
            continue
        elif name == "inconclusive":
            if value not in INCONCLUSIVE:
                wrong.append((name, f"must be one of {', '.join(INCONCLUSIVE)}"))
        elif name == "relearning":
            if not isinstance(value, bool):
                wrong.append((name, "must be true or false"))
        elif not isinstance(value, Mapping):
            wrong.append((name, "must be an object of names and numbers"))
        else:
            wrong += [(f"{name}.{each}", what) for each, what in _WRONG[name](value)]
    return wrong


def _wrong_thresholds(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = []
    for name, value in given.items():
        known = THRESHOLDS.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if known is None:
            wrong.append((name, f"there is no such threshold; use {', '.join(THRESHOLDS)}"))
        elif value is not None and not (number and known.above < value <= known.most):
            wrong.append((name, f"must be above {known.above:g} and at most {known.most:g}"))
    return wrong


_WRONG: Mapping[str, Callable[[Mapping[str, Any]], list[tuple[str, str]]]] = {
    "thresholds": _wrong_thresholds,
    "budget": drift.wrong,
    "scheduling": demands.wrong,
}


def change(tx: Transaction, model: Model, wanted: Mapping[str, Any]) -> None:
    """Merge a change into a model's policy. The model's row must be locked.

    The audit chain gets the old and the new value of each setting that changes. A job that a
    worker holds goes on with the policy that it was taken up with. Raises `Invalid`.
    """
    before = settings(in_force(model.policy))
    model.policy = merged(model.policy, wanted)
    after = settings(in_force(model.policy))
    changed = {
        name: {"old": before[name], "new": after[name]}
        for name in before
        if before[name] != after[name]
    }
    if changed:
        tx.record("model", model.id, "policy changed", settings=changed)
