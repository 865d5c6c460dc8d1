"""What a process has in memory, for calls to take a version from."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.backend import Backend
from core.errors import NotFound, Unavailable
from service.inference.board import Board
from service.inference.slots import Slot
from service.inference.versions import Served


class Shelf:
    """Every model's versions; `Loader` fills it. lock: held by whoever looks or changes."""

    def __init__(self, backend: Backend, board: Board) -> None:
        self.backend, self.board = backend, board
        self.lock = threading.Lock()
        self._slots: dict[str, Slot] = {}
        self._names: dict[str, str] = {}
        self._renewed = 0.0

    @contextmanager
    def use(self, name: str | None) -> Iterator[Served]:
        """The version that serves model `name` now (the only model, when None); see `hold`."""
        served = self.hold(name)
        try:
            yield served
        finally:
            self.release(served)

    def hold(self, name: str | None) -> Served:
        """The version to answer from now; it stays announced until it is released.

        Raises `NotFound` for an unknown model and `Unavailable` while none is loaded, or when
        this process could not renew its lease: its version may have been destroyed.
        """
        with self.lock:
            slot = self.slot(name)
            served = slot.held.get(self.board.word(slot.column))
            if served is None:
                reason = slot.error or "its version is still being loaded"
                raise Unavailable(f"model {slot.name!r} could not be loaded: {reason}")
            served.users += 1
            return served

    def release(self, served: Served) -> None:
        """The call that held it has ended."""
        with self.lock:
            served.users -= 1

    def slot(self, name: str | None) -> Slot:
        """What is known of a model, the only one when None; see `hold`. The lock must be held."""
        if time.monotonic() - self._renewed >= self.backend.settings.replica_lease_seconds:
            raise Unavailable("this process lost touch with the database and serves nothing")
        if not self._names:
            raise Unavailable("no model is served yet; train one with `lethe train`")
        if name is None:
            if len(self._names) > 1:
                raise NotFound(f"name the model: {', '.join(sorted(self._names))}")
            name = next(iter(self._names))
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise NotFound(f"there is no model {name!r} served here; models: {known}")
        return self._slots[self._names[name]]

    def slots(self) -> list[Slot]:
        """What is known of every model. The lock must be held."""
        return list(self._slots.values())

    def ready(self) -> bool:
        """Could a prediction be answered now?"""
        with self.lock:
            fresh = time.monotonic() - self._renewed < self.backend.settings.replica_lease_seconds
            return fresh and any(self._current(slot) for slot in self._slots.values())

    def status(self) -> dict[str, dict[str, Any]]:
        """By model: the version and digest served, and the last fault in loading, if any."""
        with self.lock:
            found = {}
            for name, model_id in self._names.items():
                served = self._current(self._slots[model_id])
                found[name] = {
                    "version": served.number if served else None,
                    "digest": served.digest if served else None,
                    "error": self._slots[model_id].error,
                }
            return found

    def _current(self, slot: Slot) -> Served | None:
        return slot.held.get(self.board.word(slot.column))
