"""The side thread of a running job: renews its lease and listens for a cancel.

Why a job must stop is asked here: its lease is lost, it was cancelled, or its worker stops.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from core import holding
from core.db import Database
from core.errors import LeaseLost
from core.holding import Held
from worker.closing import Closing

log = logging.getLogger(__name__)

LISTEN_SECONDS = 0.5
"""How often a cancel is looked for: it takes effect within a second of the next step."""


class Heart:
    """Beats while the block runs. `lost` and `cancelled` say why a job must stop.

    A database that does not answer is not yet a lost lease; but once the lease must have run
    out by this host's clock, another worker may have the job, so that it counts as lost.
    """

    def __init__(
        self, db: Database, held: Held, lease_seconds: float, closing: Closing | None = None
    ) -> None:
        self._db, self._held, self._lease = db, held, lease_seconds
        self.closing = closing or Closing()
        self._over = threading.Event()
        self._beaten = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self.lost = False
        self.cancelled = False

    def should_stop(self) -> bool:
        """Must the job stop at its next step?"""
        if time.monotonic() - self._beaten > self._lease:
            self.lost = True
        return self.lost or self.cancelled or self.closing.over

    def _run(self) -> None:
        pause = min(LISTEN_SECONDS, self._lease / 3)
        while not self._over.wait(pause):
            started = time.monotonic()
            try:
                self.cancelled = holding.heartbeat(self._db, self._held, self._lease)
                self._beaten = started
            except LeaseLost:
                self.lost = True
                return
            except SQLAlchemyError as error:
                log.warning("heartbeat of job %s failed: %s", self._held.job_id, error)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
