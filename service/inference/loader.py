"""Hot swap: what is published is loaded aside, and then answered from, by all processes at once.

A new version is loaded in a thread of its own, its digest checked, warmed up, announced in the
database as held by this process, and reported ready on the board. When every process of this
service is, the board's word turns, and from then on every call takes the new one. A call takes
a version once and uses it for the forward pass and for what the answer says, so that no answer
mixes versions. The one before stays announced until the last call that uses it has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core import registry, replicas, requests, tracing
from core.backend import Backend
from core.errors import LetheError
from core.points import reached
from core.records import Dataset, Model, Version
from service.inference.board import Board
from service.inference.pins import Pins
from service.inference.shelf import Shelf
from service.inference.slots import Slot
from service.inference.versions import Served, check_device, load, set_threads

log = logging.getLogger(__name__)

FAULTS = (LetheError, ValueError, KeyError, RuntimeError)
"""What a checkpoint that cannot be loaded may raise."""


class Loader(Shelf):
    """Keeps every model's serving version in memory and reports what this process serves.

    board: the file that the processes of this service share, of which there are `processes`.
    Raises `SettingsError` when LETHE_DEVICE is not there.
    """

    def __init__(self, backend: Backend, board: Path | None = None, processes: int = 1) -> None:
        check_device(backend.settings.device)
        set_threads(processes)
        super().__init__(backend, Board(board, backend.settings.replica_lease_seconds))
        self.pins = Pins(self)
        self._over = threading.Event()
        self._replica: str | None = None
        self._telling = threading.Lock()
        self._told: dict[str, dict[str, Any]] = {}
        self._loading: Future[None] | None = None
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    def start(self) -> None:
        """Load what is published, then watch. A fault at first is retried like any other.

        Waits until what the other processes answer from is here too, as long as their lease.
        """
        until = time.monotonic() + self.backend.settings.replica_lease_seconds
        self._round()
        while not self._settled() and time.monotonic() < until:
            loads = self._loading is not None and not self._loading.done()
            time.sleep(0.01 if loads else self.backend.settings.poll_seconds)
            if not self._settled():  # a round renews the lease, which a long load would outlast
                self._round()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and say that this process serves nothing any more."""
        self._over.set()
        self._thread.join()
        self._aside.shutdown(wait=True)
        self.board.close()
        if self._replica is not None:
            try:
                replicas.leave(self.backend.db, self._replica)
            except SQLAlchemyError as error:
                log.warning("this replica's lease runs out by itself: %s", error)

    def _settled(self) -> bool:
        """Is all in place that can be? What the other processes answer from can, if not at once."""
        if self._loading is not None and not self._loading.done():
            return False
        with self.lock:
            return all(
                self._current(slot) or (slot.error and not self.board.word(slot.column))
                for slot in self._slots.values()
            )

    def _run(self) -> None:
        while not self._over.wait(self.backend.settings.poll_seconds):
            self._round()

    def _round(self) -> None:
        try:
            self._renew()
            with self.backend.db.reading() as session:
                published = {
                    model.id: (model, session.get_one(Dataset, model.dataset_id), version)
                    for model in registry.models(session)
                    if (version := registry.serving(session, model.id)) is not None
                }
                lost = self.pins.lost(session)
            missing = [
                (self._slots[model.id], model, dataset, version)
                for model, dataset, version in published.values()
                if not self._follow(model, version)
            ]
            if missing and (self._loading is None or self._loading.done()):
                self._loading = self._aside.submit(self._prepare, missing)
            with self.lock:
                self.pins.drop(lost)
                for name in [n for n, i in self._names.items() if i not in published]:
                    del self._names[name]
        except SQLAlchemyError as error:
            log.warning("the database does not answer; served versions stay: %s", error)

    def _renew(self) -> None:
        """Report and renew at a third of the lease, or at once when there is something new."""
        seconds = self.backend.settings.replica_lease_seconds
        started = time.monotonic()
        with self._telling:
            with self.lock:
                words = {i: self.board.word(slot.column) for i, slot in self._slots.items()}
                for i, slot in self._slots.items():
                    slot.drop(words[i])
                serving = {i: slot.entry(words[i]) for i, slot in self._slots.items()}
            if self._replica is None:
                self._replica = replicas.announce(self.backend.db, seconds)
            elif serving != self._told or started - self._renewed >= seconds / 3:
                if not replicas.renew(self.backend.db, self._replica, serving, seconds):
                    self._begin_anew(seconds)
                self._told = serving
            else:
                self.board.beat()
                return
        self.board.beat()
        self._renewed = started

    def _begin_anew(self, seconds: float) -> None:
        """The lease ran out: what is in memory may have been destroyed; load what is current."""
        log.warning("this replica's lease ran out; it loads every model again")
        with self.lock:
            self._slots.clear()
            self._names.clear()
            self.board.nothing_ready()
        self._replica = replicas.announce(self.backend.db, seconds)

    def _follow(self, model: Model, version: Version) -> bool:
        """Say that `version` is ready here, if it is; whether there is nothing to load."""
        slot = self._slots.get(model.id)
        if slot is None:
            slot = Slot(model.id, model.name, self.board.column(model.id))
        with self.lock:
            slot.wanted = version.number
            self._slots[model.id] = slot
            self._names[model.name] = model.id
        word = self.board.word(slot.column)
        if version.number in slot.held and not word == slot.answers == version.number:
            word = self._turn(slot, version.number)
        return version.number in slot.held and word in slot.held

    def _turn(self, slot: Slot, number: int) -> int:
        """Tell the other processes that this version is ready here; what is answered from now."""
        with self.lock:
            if self._slots.get(slot.model_id) is not slot:
                return 0  # the lease ran out meanwhile, and all is loaded anew
            word = self.board.ready(slot.column, number)
        if word != slot.answers and word in slot.held:
            slot.answers = word
            log.info("serving version %d of %s", word, slot.name)
        return word

    def _prepare(self, missing: list[tuple[Slot, Model, Dataset, Version]]) -> None:
        """Load versions aside and let them be answered from, one model after another."""
        for slot, model, dataset, version in missing:
            try:
                if version.number not in slot.held:
                    self._replace(slot, model, dataset, version)
                self._join(slot, model, dataset)
            except SQLAlchemyError as error:
                log.warning("the database does not answer; served versions stay: %s", error)

    def _replace(self, slot: Slot, model: Model, dataset: Dataset, version: Version) -> None:
        with self._traced(version):
            try:
                fresh = self.load(model, dataset, version)
            except FAULTS as error:
                if slot.error is None:
                    log.warning(
                        "version %d of %s cannot be loaded: %s", version.number, model.name, error
                    )
                slot.error = str(error)
                return
            reached("swap:loaded")
            if self.announce(slot, version, fresh) is None:
                return  # a newer one is published, or the lease is gone: the next round sees it
            slot.error = None
            reached("swap:announced")
            self._turn(slot, version.number)
            reached("swap:done")

    def _join(self, slot: Slot, model: Model, dataset: Dataset) -> None:
        """Load what the other processes answer from, where they have not come to the newest."""
        word = self.board.word(slot.column)
        if not word or word in slot.held:
            return
        with self.backend.db.reading() as session:
            version = registry.version_numbered(session, model, word)
        try:
            self.announce(slot, version, self.load(model, dataset, version), retired=True)
        except FAULTS as error:
            slot.error = slot.error or str(error)
        else:
            if slot.wanted in slot.held:
                slot.error = None

    def load(self, model: Model, dataset: Dataset, version: Version) -> Served:
        """The version in memory; raises one of `FAULTS`."""
        device = self.backend.settings.device
        return load(self.backend.checkpoints, device, model, dataset, version)

    def announce(
        self,
        slot: Slot,
        version: Version,
        fresh: Served,
        *,
        users: int = 0,
        retired: bool = False,
        untainted: bool = False,
    ) -> Served | None:
        """Tell the database that this process may answer from `fresh`, then keep it at hand.

        Returns what is at hand, used by so many `users` from the start; None when it may not
        be: see `core.replicas.adopt`, also for the last two arguments.
        """
        with self._telling:
            with self.lock:
                if self._replica is None or self._slots.get(slot.model_id) is not slot:
                    return None
                slot.coming.append(fresh)
                entry = slot.entry(self.board.word(slot.column))
            may = False
            try:
                may = replicas.adopt(
                    self.backend.db,
                    self._replica,
                    version,
                    entry,
                    retired=retired,
                    untainted=untainted,
                )
            finally:
                with self.lock:
                    slot.coming.remove(fresh)
                    held = slot.held.setdefault(version.number, fresh) if may else None
                    if held is not None:
                        held.users += users
                        self._told = {**self._told, slot.model_id: entry}
        return held

    def _traced(self, version: Version) -> AbstractContextManager[Any]:
        """A span of the trace in which the version was asked for."""
        parent = None
        if tracing.enabled() and version.job_id is not None:
            with self.backend.db.reading() as session:
                calls = requests.calls_of(session, version.job_id, most=1)
            parent = calls[0][1] if calls else None
        return tracing.span("swap", parent=parent, version=version.id)
