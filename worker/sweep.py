"""Repairs while jobs run: wakes workers for what waits, clears what nobody owns.

One leader at a time, by a lease in the database. The broker may lose everything: what is
queued or stalled is found here and sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from core import (
    appending,
    claims,
    datasets,
    deadlines,
    holding,
    leases,
    registry,
    repeats,
    replicas,
    workers,
)
from core.backend import Backend
from core.demands import ANYTHING, Offer
from core.errors import LetheError
from worker import leftovers

log = logging.getLogger(__name__)

LEASE = "sweep"
BEAT_EVERY = 5.0
ALIVE_SECONDS = 20.0
"""A worker that has not been heard of for so long is not counted any more."""
WARN_EVERY = 30.0
PURGE_EVERY = 600.0
ORPHAN_SECONDS = 3600.0
"""A checkpoint file that no row names may be about to get one; not after an hour."""


class Sweep:
    """The sweeping thread of one process."""

    def __init__(
        self, backend: Backend, owner: str, offer: Callable[[], Offer] = lambda: ANYTHING
    ) -> None:
        self._backend, self._owner, self._offer = backend, owner, offer
        self._over = threading.Event()
        self._purged = time.monotonic()
        self._beaten = self._warned = -PURGE_EVERY
        self._woken: dict[str, tuple[float, float]] = {}
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin sweeping in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and let another process lead."""
        self._over.set()
        self._thread.join()
        try:
            workers.leave(self._backend.db, self._owner)
            leases.give_up(self._backend.db, LEASE, self._owner)
        except SQLAlchemyError as error:
            log.warning("the lease of sweep runs out by itself: %s", error)

    def _run(self) -> None:
        seconds = self._backend.settings.sweep_seconds
        pause = 0.0  # that this worker is alive is said at once
        while not self._over.wait(pause):
            pause = seconds
            try:
                self.beat()
                if leases.take(self._backend.db, LEASE, self._owner, 5 * seconds):
                    self.once()
            except (SQLAlchemyError, LetheError, OSError) as error:
                log.warning("sweep failed and will try again: %s", error)

    def beat(self) -> None:
        """Say that this worker is alive, every few seconds."""
        if time.monotonic() - self._beaten > BEAT_EVERY:
            self._beaten = time.monotonic()
            workers.beat(self._backend.db, self._owner, ALIVE_SECONDS, self._offer())
            if self._backend.settings.alive_file is not None:
                self._backend.settings.alive_file.touch()

    def once(self) -> None:
        """One round."""
        self._wake()
        if time.monotonic() - self._warned > WARN_EVERY:
            self._warned = time.monotonic()
            deadlines.warn(self._backend.db, self._backend.settings.due_warning_days)
            self._warn_of_unserved()
        if time.monotonic() - self._purged > PURGE_EVERY:
            self._purged = time.monotonic()
            self.purge()

    def _warn_of_unserved(self) -> None:
        with self._backend.db.reading() as session:
            found = claims.unserved(session, workers.offers(session))
        for words in found:
            log.warning("%s", words)

    def _wake(self) -> None:
        """Wake workers for what waits; ever more rarely for the same job.

        When every worker is busy its message still lies in the broker, and need not be doubled.
        """
        now, db = time.monotonic(), self._backend.db
        with db.reading() as session:
            fleet = workers.fleet(session)
        waiting = holding.claimable(db, offer=fleet)
        self._woken = {job_id: self._woken[job_id] for job_id in waiting if job_id in self._woken}
        for job_id in waiting:
            again, pause = self._woken.get(job_id, (now, self._backend.settings.sweep_seconds))
            if again <= now:
                db.wake(job_id)
                self._woken[job_id] = (now + pause, min(2 * pause, 60.0))

    def purge(self) -> None:
        """Remove checkpoint files that no row names, what killed appends left, dead replicas and
        workers, answers that nobody asks for again.
        """
        with self._backend.db.transaction() as tx:
            replicas.forget_dead(tx, older_than=86_400.0)
            workers.forget_dead(tx, older_than=86_400.0)
            keep = registry.digests_in_use(tx.session)
            found = datasets.datasets(tx.session)
        forgotten = repeats.forget_old(self._backend.db)
        if forgotten:
            log.info("forgot %d answers to an Idempotency-Key of long ago", forgotten)
        for dataset in found:
            appending.settle(self._backend.db, self._backend.samples, dataset.id)
        leftovers.clear(self._backend)
        for digest in self._backend.checkpoints.remove_orphans(keep, ORPHAN_SECONDS):
            log.info("removed checkpoint %s, which no version names", digest)
        if (bucket := self._backend.bucket) is not None:
            ended = bucket.end_uploads(bucket.url, timedelta(seconds=ORPHAN_SECONDS))
            if ended:
                log.info("ended %d uploads that somebody began and never ended", ended)
