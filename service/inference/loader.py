"""Hot swap: one thread watches for newly published versions and replaces one reference.

A new version is loaded aside, its digest checked, warmed up, announced in the database as
served by this process, and only then put in place. A request takes the reference once and
uses it for the forward pass and for what the answer says, so that no answer mixes versions.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core import registry, replicas, requests, tracing
from core.backend import Backend
from core.errors import LetheError, NotFound, Unavailable
from core.points import reached
from core.records import Dataset, Model, Version
from service.inference.forward import Forward, prepared
from unlearning import Architecture, load_arrays

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Served:
    """One version in memory, and how many requests are using it.

    shape: channels, rows and columns of one input. classes: their names, by index.
    """

    model: str
    number: int
    digest: str
    forward: Forward
    shape: tuple[int, int, int]
    classes: list[str]
    users: int = 0


@dataclass
class _Slot:
    """What is known of one model: the version in place, those still draining, the last fault."""

    served: Served | None = None
    draining: list[Served] = field(default_factory=list)
    error: str | None = None


class Loader:
    """Keeps every model's serving version in memory and reports what this process serves."""

    def __init__(self, backend: Backend, device: str = "cpu") -> None:
        self._backend, self._device = backend, device
        self._slots: dict[str, _Slot] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._replica: str | None = None
        self._renewed = 0.0
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    def start(self) -> None:
        """Load what is published, then watch. A fault at first is retried like any other."""
        self._round()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and say that this process serves nothing any more."""
        self._over.set()
        self._thread.join()
        if self._replica is not None:
            try:
                replicas.leave(self._backend.db, self._replica)
            except SQLAlchemyError as error:
                log.warning("this replica's lease runs out by itself: %s", error)

    @contextmanager
    def use(self, name: str | None) -> Iterator[Served]:
        """The version that serves model `name` now (the only model, when None).

        Raises `NotFound` for an unknown model and `Unavailable` while none is loaded, or when
        this process could not renew its lease: its version may have been destroyed.
        """
        with self._lock:
            served = self._serving(name)
            served.users += 1
        try:
            yield served
        finally:
            with self._lock:
                served.users -= 1

    def _serving(self, name: str | None) -> Served:
        if time.monotonic() - self._renewed >= self._backend.settings.replica_lease_seconds:
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
        slot = self._slots[self._names[name]]
        if slot.served is None:
            raise Unavailable(f"model {name!r} could not be loaded: {slot.error}")
        return slot.served

    def ready(self) -> bool:
        """Could a prediction be answered now?"""
        with self._lock:
            fresh = time.monotonic() - self._renewed < self._backend.settings.replica_lease_seconds
            return fresh and any(slot.served for slot in self._slots.values())

    def status(self) -> dict[str, dict[str, Any]]:
        """By model: the version and digest served, and the last fault in loading, if any."""
        with self._lock:
            found = {}
            for name, model_id in self._names.items():
                slot = self._slots[model_id]
                found[name] = {
                    "version": slot.served.number if slot.served else None,
                    "digest": slot.served.digest if slot.served else None,
                    "error": slot.error,
                }
            return found

    def _run(self) -> None:
        while not self._over.wait(self._backend.settings.poll_seconds):
            self._round()

    def _round(self) -> None:
        try:
            self._renew()
            with self._backend.db.reading() as session:
                published = {
                    model.id: (model, session.get_one(Dataset, model.dataset_id), version)
                    for model in registry.models(session)
                    if (version := registry.serving(session, model.id)) is not None
                }
            for model, dataset, version in published.values():
                self._follow(model, dataset, version)
            with self._lock:
                for name in [n for n, i in self._names.items() if i not in published]:
                    del self._names[name]
        except SQLAlchemyError as error:
            log.warning("the database does not answer; served versions stay: %s", error)

    def _renew(self) -> None:
        """Report and renew at a third of the lease, or at once while something drains."""
        seconds = self._backend.settings.replica_lease_seconds
        db = self._backend.db
        started = time.monotonic()
        with self._lock:
            drained = False
            for slot in self._slots.values():
                still = [old for old in slot.draining if old.users]
                drained |= len(still) != len(slot.draining)
                slot.draining = still
            serving = {model_id: self._entry(slot) for model_id, slot in self._slots.items()}
        if self._replica is None:
            self._replica = replicas.announce(db, seconds)
        elif not drained and started - self._renewed < seconds / 3:
            return
        elif not replicas.renew(db, self._replica, serving, seconds):
            self._begin_anew(seconds)
        self._renewed = started

    def _begin_anew(self, seconds: float) -> None:
        """The lease ran out: what is in memory may have been destroyed; load what is current."""
        log.warning("this replica's lease ran out; it loads every model again")
        with self._lock:
            self._slots.clear()
            self._names.clear()
        self._replica = replicas.announce(self._backend.db, seconds)

    @staticmethod
    def _entry(slot: _Slot) -> dict[str, Any]:
        served = slot.served
        return {
            "digest": served.digest if served else None,
            "version": served.number if served else None,
            "also": [old.digest for old in slot.draining],
            "error": slot.error,
        }

    def _follow(self, model: Model, dataset: Dataset, version: Version) -> None:
        """Load `version` and put it in place, unless it is there already."""
        slot = self._slots.get(model.id, _Slot())
        if slot.served is None or slot.served.digest != version.digest:
            with self._traced(version):
                self._replace(slot, model, dataset, version)
        with self._lock:
            self._slots[model.id] = slot
            self._names[model.name] = model.id

    def _traced(self, version: Version) -> AbstractContextManager[Any]:
        """A span of the trace in which the version was asked for."""
        parent = None
        if tracing.enabled() and version.job_id is not None:
            with self._backend.db.reading() as session:
                calls = requests.calls_of(session, version.job_id, most=1)
            parent = calls[0][1] if calls else None
        return tracing.span("swap", parent=parent, version=version.id)

    def _replace(self, slot: _Slot, model: Model, dataset: Dataset, version: Version) -> None:
        try:
            fresh = self._load(model, dataset, version)
        except (LetheError, ValueError, KeyError, RuntimeError) as error:
            if slot.error is None:
                log.warning(
                    "version %d of %s cannot be loaded: %s", version.number, model.name, error
                )
            slot.error = str(error)
        else:
            self._swap(model, version, slot, fresh)

    def _load(self, model: Model, dataset: Dataset, version: Version) -> Served:
        checkpoint = self._backend.checkpoints.read(version.digest)
        architecture = Architecture.from_dict(json.loads(checkpoint.metadata["architecture"]))
        forward = prepared(load_arrays(architecture, checkpoint.arrays), self._device)
        return Served(
            model.name,
            version.number,
            version.digest,
            forward,
            architecture.input_shape,
            list(dataset.classes),
        )

    def _swap(self, model: Model, version: Version, slot: _Slot, fresh: Served) -> None:
        reached("swap:loaded")
        old = slot.served
        also = [served.digest for served in slot.draining] + ([old.digest] if old else [])
        assert self._replica is not None, "a replica announces itself before it loads"
        if not replicas.adopt(self._backend.db, self._replica, version, also):
            return  # a newer one is published, or the lease is gone: the next round sees it
        reached("swap:announced")
        with self._lock:
            slot.served, slot.error = fresh, None
            if old is not None:
                slot.draining.append(old)
        reached("swap:done")
        log.info("serving version %d of %s", version.number, model.name)
