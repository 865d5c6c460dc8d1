"""The desk where erasure requests are handed in: those that arrive together share a commit.

Every request locks its model and the head of the audit chain until it is on disk, so that one
transaction each makes all of them queue for the disk. Here a caller puts its request down, and
one writer takes up all that lie there: group commit (DeWitt et al., "Implementation techniques
for main memory database systems", SIGMOD 1984). Nobody waits for others to come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from core import intake
from core.asked import Asked, Submitted
from core.backend import Backend
from core.db import UNREACHABLE, Database, Wake
from core.errors import Unavailable

log = logging.getLogger(__name__)

TOGETHER = 64
"""Requests in one transaction, so that nobody waits long for the others'."""

MOST_LYING = 1024
"""More requests than this are not kept waiting: they are refused, and may come again."""

PATIENCE_SECONDS = 10.0
"""A request that has lain for so long is refused: its caller is about to give up."""

PAUSE_SECONDS = 0.01
"""After a transaction of a crowd. It costs a request there little: a transaction takes as long, and
one for four costs the processor about a quarter of four. Where few come, nobody waits for it."""

CROWD = 4
"""As many requests in one transaction are a crowd."""

REST_SECONDS = 0.05
"""Between wake-ups: those of a crowd need no message each."""


@dataclass(eq=False)
class _Slip:
    asked: Asked
    done: Future[Submitted] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Desk:
    """Takes requests in for one process; any thread may hand them in, from `start` to `close`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lying: deque[_Slip] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._waker = _Waker(backend.db)
        self._writer = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._waker.start()
        self._writer.start()

    def close(self) -> None:
        """Write what lies there, tell the workers, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()
        self._waker.close()

    def hand_in(self, asked: Asked) -> Future[Submitted]:
        """Put one request down; done once it is committed, or with what `take_in` raises.

        Raises `Unavailable` when too many lie there, or when the process stops.
        """
        slip = _Slip(asked)
        with self._changed:
            if self._closing:
                raise Unavailable("this process is stopping; try again in a moment")
            if len(self._lying) >= MOST_LYING:
                raise Unavailable("too many requests wait to be taken in; try again in a moment")
            self._lying.append(slip)
            self._changed.notify()
        return slip.done

    def _run(self) -> None:
        while slips := self._taken_up():
            self._write_down(slips)
            if len(slips) >= CROWD:
                time.sleep(PAUSE_SECONDS)

    def _taken_up(self) -> list[_Slip]:
        """The first slip and others for the same model: locks of several would lie in any order."""
        with self._changed:
            self._changed.wait_for(lambda: self._lying or self._closing)
            if not self._lying:
                return []
            model = self._lying[0].asked.new.model
            slips = [slip for slip in self._lying if slip.asked.new.model == model][:TOGETHER]
            taken = set(slips)
            self._lying = deque(slip for slip in self._lying if slip not in taken)
        return slips

    def _write_down(self, slips: list[_Slip]) -> None:
        oldest = time.monotonic() - PATIENCE_SECONDS
        wanted = []
        for slip in slips:
            if not slip.done.set_running_or_notify_cancel():
                continue  # its caller has gone
            if slip.since < oldest:
                slip.done.set_exception(
                    Unavailable("the database is too slow to take requests in; try again")
                )
            else:
                wanted.append(slip)
        if not wanted:
            return
        try:
            together = intake.take_all_in(
                self._backend, [slip.asked for slip in wanted], self._waker.wake
            )
        except UNREACHABLE as error:
            for slip in wanted:
                slip.done.set_exception(error)
        except Exception:  # noqa: BLE001  # any: alone, each one finds out whose it was
            for slip in wanted:
                self._write_alone(slip)
        else:
            for slip, done in zip(wanted, together, strict=True):
                slip.done.set_result(done)

    def _write_alone(self, slip: _Slip) -> None:
        try:
            slip.done.set_result(intake.take_in(self._backend, slip.asked, self._waker.wake))
        except Exception as error:  # noqa: BLE001  # any: it is the caller's
            slip.done.set_exception(error)


class _Waker:
    """Sends wake-ups in a thread of its own: nobody who hands in waits for a broker.

    Of those for one model that wait the newest is sent: who is woken claims what is due first, and
    wakes the next while there is more.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pending: dict[str, str] = {}
        """By the id of the model, the job."""
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self, wanted: Wake) -> None:
        with self._changed:
            self._pending[wanted.model_id] = wanted.job_id
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while waiting := self._taken():
            for job_id in waiting.values():
                self._db.wake(job_id)
            self._closing.wait(REST_SECONDS)

    def _taken(self) -> dict[str, str]:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing.is_set())
            waiting, self._pending = self._pending, {}
        return waiting
