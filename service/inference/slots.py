"""What a process has of one model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.inference.versions import Served


@dataclass(eq=False)
class Slot:
    """Versions of one model in memory, by number, and the last fault in loading one.

    column: its place on the board. wanted: the number that the database says should be served.
    pins: numbers that calls asked for, the last used last. coming: loaded, not yet announced.
    answers: the number that calls were last seen to be answered from.
    """

    model_id: str
    name: str
    column: int
    wanted: int = 0
    held: dict[int, Served] = field(default_factory=dict)
    pins: dict[int, None] = field(default_factory=dict)
    coming: list[Served] = field(default_factory=list)
    answers: int = 0
    error: str | None = None

    def entry(self, word: int) -> dict[str, Any]:
        """What the database is told: the version in force, and all else that is in memory."""
        served = self.held.get(word)
        others = [each for each in (*self.held.values(), *self.coming) if each is not served]
        return {
            "digest": served.digest if served else None,
            "version": served.number if served else None,
            "also": [each.digest for each in others],
            "error": self.error,
        }

    def drop(self, word: int) -> None:
        """Forget what nobody needs or uses any more."""
        kept = {word, self.wanted, *self.pins}
        for number in [n for n, each in self.held.items() if n not in kept and not each.users]:
            del self.held[number]
