"""The desk where erasure requests are handed in: those that arrive together share a commit.

Every request locks its model and the head of the audit chain until it is on disk, so that one
transaction each makes all of them queue for the disk. Here a caller puts its request down, and
whoever gets the pen writes down all that lie there: flat combining (Hendler, Incze, Shavit and
Tzafrir, "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from core import intake
from core.backend import Backend
from core.intake import Asked, Submitted

TOGETHER = 32
"""Requests in one transaction, so that nobody waits long for the others'."""


@dataclass(eq=False)
class _Slip:
    asked: Asked
    done: Submitted | Exception | None = None


class Desk:
    """Takes requests in for one process; any thread may call."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lying: list[_Slip] = []
        self._guard = threading.Lock()
        self._pen = threading.Lock()

    def submit(self, asked: Asked) -> Submitted:
        """Take one request in; returns once it is committed. Raises what `take_in` does."""
        slip = _Slip(asked)
        with self._guard:
            self._lying.append(slip)
        with self._pen:
            while slip.done is None:
                self._write_down()
        if isinstance(slip.done, Exception):
            raise slip.done
        return slip.done

    def _write_down(self) -> None:
        slips = self._taken_up()
        try:
            together = intake.take_all_in(self._backend, [slip.asked for slip in slips])
        except Exception:  # noqa: BLE001  # any: alone, each one finds out whose it was
            for slip in slips:
                slip.done = self._alone(slip.asked)
        else:
            for slip, done in zip(slips, together, strict=True):
                slip.done = done

    def _taken_up(self) -> list[_Slip]:
        """The first slip and others for the same model: locks of several would lie in any order."""
        with self._guard:
            model = self._lying[0].asked.new.model
            slips = [slip for slip in self._lying if slip.asked.new.model == model][:TOGETHER]
            self._lying = [slip for slip in self._lying if slip not in slips]
        return slips

    def _alone(self, asked: Asked) -> Submitted | Exception:
        try:
            return intake.take_in(self._backend, asked)
        except Exception as error:  # noqa: BLE001  # any: it is the caller's
            return error
