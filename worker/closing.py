"""A worker that is asked to stop: by when it must let go of the job it holds."""

from __future__ import annotations

import ctypes
import math
import time
from multiprocessing.sharedctypes import RawValue


class Stopping(Exception):
    """The worker stops: hand the job back here, another goes on with it."""


class Closing:
    """Whether this worker stops; made before the fork, so that parent and children share it.

    The parent alone writes. Both read one clock: CLOCK_MONOTONIC is the machine's.
    """

    def __init__(self) -> None:
        self._let_go_at: ctypes.c_double = RawValue(ctypes.c_double, math.inf)

    def begin(self, seconds: float) -> None:
        """Take no new job, and let go of the one that is held after so many seconds at most."""
        self._let_go_at.value = min(self._let_go_at.value, time.monotonic() + seconds)

    @property
    def begun(self) -> bool:
        """Should no new job be taken?"""
        return self._let_go_at.value < math.inf

    @property
    def over(self) -> bool:
        """Must the job be handed back at its next step?"""
        return time.monotonic() >= self._let_go_at.value
