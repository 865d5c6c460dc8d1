"""The drift budget: how much approximate forgetting a model may gather before it is retrained.

Each approximate job adds to the account that its version carries; an exact retraining, like a
first training, opens a new one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

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
        unknown = sorted(set(given) - set(asdict(cls())))
        if unknown:
            raise Invalid(f"unknown budget limit {unknown[0]!r}; use {', '.join(asdict(cls()))}")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise Invalid(f"budget limit {name} must be a number above 0, got {value!r}")
        return cls(**given)


NOTHING: dict[str, Any] = {"jobs": 0, "erased": 0, "accuracy_lost": 0.0}
"""The account of a version that was trained exactly."""


def after(
    before: dict[str, Any] | None, *, exact: bool, erased: int, lost: float
) -> dict[str, Any]:
    """The account of a job's result: its base's account and what the job adds to it.

    lost: accuracy lost on the utility split; a gain does not pay for a later loss.
    """
    if exact:
        return dict(NOTHING)
    account = NOTHING | (before or {})
    return {
        "jobs": account["jobs"] + 1,
        "erased": account["erased"] + erased,
        "accuracy_lost": account["accuracy_lost"] + max(0.0, lost),
    }


@dataclass(frozen=True)
class Standing:
    """What is spent of a budget: each share 0..1 (1 and more: a retraining is due)."""

    spent: dict[str, float]

    @property
    def due(self) -> str | None:
        """The limit that is reached, the one most overspent; None while there is room."""
        name = max(self.spent, key=lambda each: self.spent[each])
        return name if self.spent[name] >= 1.0 else None


def standing(
    budget: Budget,
    account: dict[str, Any] | None,
    *,
    trained: int,
    exact_at: datetime,
    now: datetime,
) -> Standing:
    """What of the budget is spent. trained: samples that the model was trained on, then;
    exact_at: when the last exact training was published."""
    found = NOTHING | (account or {})
    return Standing(
        {
            "erased_share": found["erased"] / max(1, trained) / budget.erased_share,
            "jobs": found["jobs"] / budget.jobs,
            "accuracy_lost": found["accuracy_lost"] / budget.accuracy_lost,
            "days": (now - exact_at) / timedelta(days=budget.days),
        }
    )
