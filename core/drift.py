"""The drift budget: how much approximate forgetting a model may gather before it is retrained.

Each approximate job adds to the account that its version carries; an exact retraining, like a
first training, opens a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from core.audit import timestamp
from core.errors import Invalid


@dataclass(frozen=True)
class Budget:
    """Limits since the last exact training: erased_share of the training samples, jobs,
    accuracy_lost on the utility split (shares 0..1), days."""

    erased_share: float = 0.05
    jobs: int = 50
    accuracy_lost: float = 0.01
    days: float = 365.0

    @classmethod
    def of(cls, policy: dict[str, Any]) -> Budget:
        """The budget in a model's policy; raises `Invalid` for an unknown or senseless limit."""
        given = policy.get("budget", {})
        for name, what in wrong(given):
            raise Invalid(f"budget.{name}: {what}")
        return cls(**given)


MOST = {"erased_share": 1.0, "jobs": 1_000_000, "accuracy_lost": 1.0, "days": 36_500.0}
"""What each limit may be at the most."""


def wrong(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with limits, as (name, what). Null is not: it stands for the default."""
    found = []
    for name, value in given.items():
        if name not in MOST:
            found.append((name, f"there is no such limit; use {', '.join(MOST)}"))
        elif value is None:
            continue
        elif isinstance(value, bool) or not isinstance(value, int | float):
            found.append((name, "must be a number"))
        elif not 0 < value <= MOST[name]:
            found.append((name, f"must be above 0 and at most {MOST[name]:g}"))
        elif name == "jobs" and value != int(value):
            found.append((name, "must be a whole number"))
    return found


Account = dict[str, Any]
"""jobs and erased samples, accuracy_lost on the utility split (0..1), all since the last exact
training; trained: the samples that it was trained on, whose keys are all below `below`;
since: when, RFC 3339."""


def opened(*, trained: int, below: int, at: datetime) -> Account:
    """The account of a version that was trained exactly."""
    return {
        "jobs": 0,
        "erased": 0,
        "accuracy_lost": 0.0,
        "trained": trained,
        "below": below,
        "since": timestamp(at),
    }


def charged(before: Account, *, erased: int, lost: float) -> Account:
    """The account of an approximate job's result: its base's, and what the job adds.

    lost: accuracy lost on the utility split; a gain does not pay for a later loss.
    """
    return before | {
        "jobs": before["jobs"] + 1,
        "erased": before["erased"] + erased,
        "accuracy_lost": before["accuracy_lost"] + max(0.0, lost),
    }


def spent(budget: Budget, account: Account, now: datetime) -> dict[str, float]:
    """How much of each limit is used up, as a share: at 1 a retraining is due."""
    since = datetime.fromisoformat(account["since"])
    return {
        "erased_share": account["erased"] / max(1, account["trained"]) / budget.erased_share,
        "jobs": account["jobs"] / budget.jobs,
        "accuracy_lost": account["accuracy_lost"] / budget.accuracy_lost,
        "days": (now - since) / timedelta(days=budget.days),
    }


@dataclass(frozen=True)
class Standing:
    """Where an account stands: the limits, what is used of them, and what is left.

    used: erased_share (0..1), jobs, accuracy_lost (0..1), days. left: of each limit, as a share
    0..1; at 0 a retraining is due. since: when the account was opened, RFC 3339.
    """

    since: str
    limits: dict[str, float]
    used: dict[str, float]
    left: dict[str, float]


def standing(budget: Budget, account: Account, now: datetime) -> Standing:
    """What people and programs are shown of an account; days to the hundredth."""
    limits = asdict(budget)
    shares = spent(budget, account, now)
    shares["days"] = round(shares["days"] * budget.days, 2) / budget.days
    return Standing(
        since=account["since"],
        limits=limits,
        used={name: share * limits[name] for name, share in shares.items()},
        left={name: min(1.0, max(0.0, 1.0 - share)) for name, share in shares.items()},
    )


def overspent(budget: Budget, account: Account, now: datetime) -> str | None:
    """The limit that asks for a retraining, the most overspent one; None while there is room."""
    shares = spent(budget, account, now)
    name = max(shares, key=lambda each: shares[each])
    return name if shares[name] >= 1.0 else None
