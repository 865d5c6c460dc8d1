"""Who writes to a data set, and who is alone with it: by flock on a path, by leases elsewhere.

Clean-up may remove files that no version refers to (left by a killed import or a lost
compaction) only when no writer is alive, for a writer's files look just the same until its
commit. Writers hold the lock shared, clean-up exclusively.
"""

from __future__ import annotations

import fcntl
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from core import leases
from core.db import Database
from core.errors import Conflict

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_LEASE_POLL_SECONDS = 0.2

Check = Callable[[], None]
"""To be called before a commit; raises `DatasetBusy` when the lock was lost meanwhile."""


class DatasetBusy(Conflict):
    """Another process writes to the data set now."""


class Lock(Protocol):
    """The lock of one data set."""

    def shared(self) -> AbstractContextManager[Check]:
        """Hold it as one of the writers; waits for a clean-up to end."""

    def exclusive(self, wait_seconds: float) -> AbstractContextManager[bool]:
        """Hold it alone, if every writer ends within `wait_seconds`; yields whether."""


class FileLock:
    """By flock on a local or shared path: the kernel drops it with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def shared(self) -> Iterator[Check]:
        """See `Lock`."""
        with self._path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield _held_by_the_kernel

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[bool]:
        """See `Lock`."""
        deadline = time.monotonic() + wait_seconds
        with self._path.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        yield False
                        return
                    time.sleep(_POLL_SECONDS)
                else:
                    yield True
                    return


class NoLock:
    """Where nothing can be locked: writers write, and nobody is ever known to be alone."""

    @contextmanager
    def shared(self) -> Iterator[Check]:
        """See `Lock`."""
        yield _held_by_the_kernel

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[bool]:  # noqa: ARG002  # see Lock
        """See `Lock`."""
        yield False


class LeaseLock:
    """By leases in the database, for a store that has no locks: an object store.

    Each writer and each clean-up has a lease of its own, which a thread renews. Both first take
    theirs and then look for the other's, each in a transaction that has committed: of two that
    begin at once at least one sees the other, and it is the writer that steps back.

    A writer that was paused past its lease must not commit, for a clean-up may have taken its
    files for abandoned: it asks, right before, whether the lease still has half its time to run.
    """

    def __init__(self, db: Database, dataset: str, seconds: float) -> None:
        self._db, self._seconds = db, seconds
        self._dataset = dataset
        self._writers, self._cleaner = f"w:{dataset}:", f"c:{dataset}"

    @contextmanager
    def shared(self) -> Iterator[Check]:
        """See `Lock`."""
        me = secrets.token_hex(6)
        with self._renewed(f"{self._writers}{me}", me) as held:
            while leases.alive(self._db, self._cleaner):
                held.rest()
                time.sleep(_LEASE_POLL_SECONDS)
                held.renew()
            yield held.check

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[bool]:
        """See `Lock`."""
        me, deadline = secrets.token_hex(6), time.monotonic() + wait_seconds
        with self._renewed(self._cleaner, me) as held:
            while not held.mine or leases.alive(self._db, self._writers):
                if time.monotonic() >= deadline:
                    held.rest()
                    yield False
                    return
                time.sleep(_LEASE_POLL_SECONDS)
                held.renew()
            yield True

    def _renewed(self, name: str, owner: str) -> _Renewed:
        return _Renewed(self._db, name, owner, self._seconds, self._dataset)


class _Renewed:
    """A lease that a thread renews until the block ends; `mine`: was it ours when last asked?"""

    def __init__(self, db: Database, name: str, owner: str, seconds: float, dataset: str) -> None:
        self._db, self._name, self._owner, self._seconds = db, name, owner, seconds
        self._dataset = dataset
        self._over, self._until = threading.Event(), 0.0
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="store-lock", daemon=True)

    def __enter__(self) -> _Renewed:
        self.renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.rest()

    @property
    def mine(self) -> bool:
        """Does the lease still have half its time to run, by this process's own clock?"""
        return time.monotonic() < self._until - self._seconds / 2

    def check(self) -> None:
        """Raise `DatasetBusy` when the lease is not safely ours."""
        if not self.mine:
            raise DatasetBusy(
                f"Data set {self._dataset!r}: this writer was paused for longer than its lease of "
                f"{self._seconds:g} s, or could not reach the database. Nothing was written; try "
                "again"
            )

    def renew(self) -> None:
        """Take the lease, or take it for longer."""
        with self._turn:
            began = time.monotonic()
            if leases.take(self._db, self._name, self._owner, self._seconds):
                self._until = began + self._seconds

    def rest(self) -> None:
        """Give the lease up."""
        with self._turn:
            self._until = 0.0
            try:
                leases.give_up(self._db, self._name, self._owner)
            except SQLAlchemyError as error:
                log.warning("the lease %s runs out by itself: %s", self._name, error)

    def _run(self) -> None:
        while not self._over.wait(self._seconds / 6):
            if self._until:
                try:
                    self.renew()
                except SQLAlchemyError as error:
                    log.warning("the lease %s was not renewed: %s", self._name, error)


def _held_by_the_kernel() -> None:
    """What is held until the process ends needs no look."""
