"""What Lance needs around it: late loading, a guard for forks, locks, and clear errors.

Lance is imported on first use. Its runtime does not survive a fork (a child of a process
that had used it dies with a segmentation fault), and half a second of import is nothing
that `lethe --help` should wait for.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import Conflict, Invalid, NotFound, Unavailable

_POLL_SECONDS = 0.02

# What Lance raises when a file that a version refers to is gone or unreadable. There is no
# class of its own: readers get OSError, scanners pyarrow's errors, opening a ValueError.
LANCE_ERRORS = (OSError, ValueError, RuntimeError)


class DatasetMissing(NotFound):
    """No data set of that name is in the sample store."""


class DatasetExists(Conflict):
    """A data set of that name is there already."""


class DatasetBusy(Conflict):
    """Another process writes to the data set now."""


class SamplesMissing(NotFound):
    """Samples that were asked for are not in the data set. `keys` lists them."""

    def __init__(self, message: str, keys: list[int]) -> None:
        super().__init__(message)
        self.keys = keys


class TooFewSamples(Conflict):
    """More samples were asked for than there are to choose from."""


class SamplesInvalid(Invalid):
    """Samples that cannot be stored: a wrong shape, type, length or key."""


class SampleStoreUnreadable(Unavailable):
    """The stored samples cannot be read or written: damaged files, or no access."""


class ForkedProcessError(RuntimeError):
    """Lance was used before this process was forked from its parent."""


_first_user: int | None = None


def load_lance() -> Any:
    """Import Lance, in the one process that is going to use it.

    Raises:
        ForkedProcessError: the parent had used Lance before it forked this process.
    """
    global _first_user  # one per process, as Lance's own runtime is
    if _first_user is None:
        _first_user = os.getpid()
    elif _first_user != os.getpid():
        raise ForkedProcessError(
            "Lance was used before this process was forked and would crash here: "
            "read or write samples only after the fork, or start processes with spawn"
        )
    import lance  # see the head of this file

    return lance


class WriterLock:
    """Tells the clean-up of one data set whether somebody is writing to it.

    Clean-up may remove files that no version refers to (left by a killed import or a lost
    compaction) only when no writer is alive, for a writer's files look just the same until
    its commit. Writers hold the lock shared, clean-up exclusively; the kernel drops it
    with the process. Only a local or shared path can be locked: on an object store
    nothing is held, and `exclusive` answers False.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock as one of the writers; waits for a clean-up to end."""
        if self._path is None:
            yield
            return
        with self._path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[bool]:
        """Hold the lock alone, if every writer ends within `wait_seconds`; yields whether."""
        if self._path is None:
            yield False
            return
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
