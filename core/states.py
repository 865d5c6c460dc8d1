"""The state machines, as data. Any transition that is not listed is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import Conflict


@dataclass(frozen=True)
class Machine:
    """States of one noun and where each may go; a state that goes nowhere is final."""

    noun: str
    moves: Mapping[str, frozenset[str]]

    @property
    def final(self) -> frozenset[str]:
        """States that nothing leaves."""
        return frozenset(state for state, onward in self.moves.items() if not onward)

    def check(self, noun_id: str, old: str, new: str) -> None:
        """Raise `Conflict` unless `old` may become `new`."""
        if new not in self.moves[old]:
            allowed = ", ".join(sorted(self.moves[old])) or "nothing: it is final"
            raise Conflict(
                f"{self.noun} {noun_id} is {old} and cannot become {new}; it may become {allowed}"
            )


def _machine(noun: str, moves: dict[str, str]) -> Machine:
    return Machine(noun, {state: frozenset(onward.split()) for state, onward in moves.items()})


REQUEST = _machine(
    "erasure_request",
    {
        "received": "scheduled completed rejected cancelled",
        "scheduled": "in_progress rejected cancelled",
        # Back to scheduled when a job is handed back; completed only by its last job; rejected
        # only by a legal hold.
        "in_progress": "scheduled completed needs_review rejected cancelled",
        "needs_review": "scheduled in_progress completed rejected cancelled",
        "completed": "",
        "rejected": "",
        "cancelled": "",
    },
)

JOB = _machine(
    "job",
    {
        "queued": "running cancelled failed",
        "running": "verifying destroying queued failed cancelled needs_review",
        "verifying": "publishing running queued failed cancelled needs_review",
        # Once the serving version may have changed there is no cancelling.
        "publishing": "destroying queued failed needs_review",
        "destroying": "succeeded failed needs_review",
        "needs_review": "queued publishing destroying cancelled failed",
        "failed": "queued",
        "succeeded": "",
        "cancelled": "",
    },
)

VERSION = _machine(
    "version",
    {
        "candidate": "serving destroyed",
        "serving": "retired",
        "retired": "serving destroyed",
        "destroyed": "",
    },
)

DELIVERY = _machine(
    "delivery",
    {
        "pending": "delivered given_up",
        "delivered": "pending",  # replayed
        "given_up": "pending",
    },
)

OPENDSR = _machine(
    "opendsr_request",
    {
        "received": "pending in_progress completed cancelled",
        "pending": "in_progress completed cancelled",
        "in_progress": "completed cancelled",
        "completed": "",
        "cancelled": "",
    },
)

JOB_HELD = ("running", "verifying", "publishing", "destroying")
"""States in which a worker holds the job: at most one such job a model."""

JOB_STOPPABLE, JOB_PAST_STOPPING = JOB_HELD[:2], JOB_HELD[2:]
"""Those in which it can still be cancelled, and those in which it no longer can."""

REQUEST_OPEN = ("received", "scheduled", "in_progress", "needs_review")
"""States of a request that still owes the person something."""
