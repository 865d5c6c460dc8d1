"""How models and events of the audit chain read on a page: filters of the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.audit import canonical
from core.facts import ModelFacts
from core.records import AuditEvent

LONGEST = 160
"""Characters of an event's details in a list; the export has all of them."""


def replicas_agree(found: ModelFacts) -> str:
    """2 of 3: live replicas of the model that serve what they should, of all of them."""
    if not found.replicas:
        return "none"
    digest = found.serving.digest if found.serving else None
    agree = sum(each.digest == digest for each in found.replicas)
    return f"{agree} of {len(found.replicas)}"


def tone(left: float) -> str:
    """The look of what is left of a budget, as a share."""
    return "bad" if left == 0 else "doubt" if left < 0.2 else "good"


def happened(event: AuditEvent) -> str:
    """A move as: queued → running; anything else as it was recorded."""
    if event.event == "moved":
        before, after = (str(event.data[end]).replace("_", " ") for end in ("from", "to"))
        return f"{before} → {after}"
    return event.event


def details(event: AuditEvent) -> str:
    """What else was recorded, shortened; who decided it has a column of its own."""
    shown = {"by", "from", "to"} if event.event == "moved" else {"by"}
    told = [
        f"{name.replace('_', ' ')} {_short(value)}"
        for name, value in event.data.items()
        if name not in shown
    ]
    text = ", ".join(told)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return canonical(value).decode()


FILTERS: Mapping[str, Callable[..., Any]] = {
    "replicas_agree": replicas_agree,
    "tone": tone,
    "happened": happened,
    "details": details,
}
