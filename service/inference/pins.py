"""Versions that calls ask for by number: retained ones that remember nothing to be forgotten."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import registry
from core.errors import Conflict, Gone, LetheError, Unavailable
from core.records import Dataset, Model, Version
from service.inference.versions import Served

if TYPE_CHECKING:
    from service.inference.loader import Loader

MOST_PINS = 4
"""Versions of one model in memory besides the serving one; the one not used longest goes first."""

_PUBLISHED = ("serving", "retired")


class Pins:
    """Loaded when first asked for; let go when they are tainted or destroyed, or too many."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._one = threading.Lock()

    def hold(self, name: str | None, number: int) -> Served | None:
        """The version, if it is at hand: the one that serves, or one asked for before."""
        with self._loader.lock:
            slot = self._loader.slot(name)
            if number in slot.pins:
                slot.pins[number] = slot.pins.pop(number)
            elif number != self._loader.board.word(slot.column):
                return None
            served = slot.held.get(number)
            if served is not None:
                served.users += 1
            return served

    def fetch(self, name: str | None, number: int) -> Served:
        """The version, loaded if need be; it blocks. See `Loader.hold`.

        Raises `NotFound` for a number that never was, `Gone` for a version that was destroyed
        (no call will ever be answered from it), `Conflict` for one that was never published, or
        that remembers what is to be forgotten (until that request is withdrawn), `Unavailable`
        when its checkpoint cannot be read.
        """
        with self._one:
            found = self.hold(name, number)  # another call may have fetched it meanwhile
            if found is not None:
                return found
            with self._loader.lock:
                slot = self._loader.slot(name)
                fresh = slot.held.get(number)
            with self._loader.backend.db.reading() as session:
                model = session.get_one(Model, slot.model_id)
                dataset = session.get_one(Dataset, model.dataset_id)
                version = registry.version_numbered(session, model, number)
                _check(session, model, version)
            if fresh is None:
                try:
                    fresh = self._loader.load(model, dataset, version)
                except (LetheError, ValueError, KeyError, RuntimeError) as error:
                    raise Unavailable(
                        f"version {number} of {model.name!r} cannot be loaded: {error}"
                    ) from error
            held = self._loader.announce(
                slot, version, fresh, users=1, retired=True, untainted=True
            )
            if held is None:
                raise Unavailable(f"version {number} of {model.name!r} changed just now; ask again")
            with self._loader.lock:
                slot.pins[number] = None
                while len(slot.pins) > MOST_PINS:
                    del slot.pins[next(iter(slot.pins))]
            return held

    def offered(self, name: str | None) -> list[int]:
        """The numbers that may be asked for, by the same rules, oldest first; it blocks."""
        with self._loader.lock:
            slot = self._loader.slot(name)
        with self._loader.backend.db.reading() as session:
            found = {
                version.id: version.number
                for version in reversed(registry.versions(session, slot.model_id))
                if version.state in _PUBLISHED
            }
            tainted = registry.taints(session, found)
        return [number for id_, number in found.items() if id_ not in tainted]

    def lost(self, session: Session) -> set[str]:
        """Ids of pinned versions that may no longer be answered from when they are asked for."""
        with self._loader.lock:
            ids = {slot.held[n].id for slot in self._loader.slots() for n in slot.pins}
        if not ids:
            return ids
        good = Version.id.in_(ids), Version.state.in_(_PUBLISHED)
        kept = set(session.scalars(select(Version.id).where(*good)))
        return (ids - kept) | set(registry.taints(session, ids))

    def drop(self, ids: set[str]) -> None:
        """Let go of these. The loader's lock must be held."""
        for slot in self._loader.slots() if ids else ():
            for number in [n for n in slot.pins if slot.held[n].id in ids]:
                del slot.pins[number]


def _check(session: Session, model: Model, version: Version) -> None:
    named = f"version {version.number} of {model.name!r}"
    if version.state == "destroyed":
        raise Gone(f"{named} remembered what was erased and was destroyed")
    if version.state not in _PUBLISHED:
        raise Conflict(f"{named} is a {version.state}: it was never published")
    if registry.taints(session, [version.id]):
        raise Conflict(f"{named} remembers what is to be forgotten; ask for a later version")
