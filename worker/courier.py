"""Callbacks, sent from a side thread while jobs run; one worker at a time, by a lease.

What a receiver does costs others little: each host has its messages sent one after another, some
hosts at once, and every call ends in time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from core import deliveries, leases
from core.backend import Backend
from core.errors import Invalid, LetheError
from core.outbound import Undelivered
from core.points import reached

log = logging.getLogger(__name__)

LEASE = "courier"
HOSTS_AT_ONCE = 4
MOST_A_ROUND = 200


class Courier:
    """The sending thread of one process."""

    def __init__(self, backend: Backend, owner: str) -> None:
        self._backend, self._owner = backend, owner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to send in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the call that is under way, and let another process send."""
        self._over.set()
        self._thread.join()
        try:
            leases.give_up(self._backend.db, LEASE, self._owner)
        except SQLAlchemyError as error:
            log.warning("the lease of the courier runs out by itself: %s", error)

    def _run(self) -> None:
        seconds = self._backend.settings.sweep_seconds
        while not self._over.wait(seconds):
            try:
                if leases.take(self._backend.db, LEASE, self._owner, 5 * seconds):
                    self.once()
            except (SQLAlchemyError, LetheError, OSError) as error:
                log.warning("sending callbacks failed and will try again: %s", error)

    def once(self) -> int:
        """One round: an attempt for each message that is due; returns how many were due."""
        due = deliveries.due(self._backend.db, MOST_A_ROUND)
        by_host: dict[str, list[str]] = {}
        for delivery_id, url in due:
            by_host.setdefault(urlsplit(url).netloc, []).append(delivery_id)
        if by_host:
            with ThreadPoolExecutor(HOSTS_AT_ONCE, "courier") as pool:
                for done in [pool.submit(self._send_all, ids) for ids in by_host.values()]:
                    done.result()
        return len(due)

    def _send_all(self, ids: Sequence[str]) -> None:
        for delivery_id in ids:
            if self._over.is_set():
                return
            attempt = deliveries.begin(self._backend, delivery_id)
            if attempt is not None:
                self._send(attempt)

    def _send(self, attempt: deliveries.Attempt) -> None:
        began = time.monotonic()
        status, error = self._called(attempt)
        reached("callback:sent")
        state = deliveries.end(self._backend.db, attempt, status, error)
        told = {
            "delivery": attempt.delivery_id,
            "erasure_request": attempt.request_id,
            "opendsr_request": attempt.opendsr_id,
            "attempt": attempt.number,
            "status": status,
            "error": error,
            "ms": round((time.monotonic() - began) * 1000, 1),
        }
        if state == "delivered":
            log.info("callback delivered", extra=told)
        elif state == "given_up":
            log.error("callback given up: POST /deliveries/ID/replay sends it again", extra=told)
        else:
            log.warning("callback failed and will be tried again", extra=told)

    def _called(self, attempt: deliveries.Attempt) -> tuple[int | None, str | None]:
        """The receiver's status, or why there is none."""
        if attempt.unsigned is not None:
            return None, attempt.unsigned
        body = attempt.payload.encode()
        try:
            return self._backend.outbound.post(attempt.url, attempt.headers, body), None
        except (Invalid, Undelivered) as failed:
            return None, str(failed)
        except Exception as failed:  # one strange address must not keep all others waiting
            log.exception("an address could not be called", extra={"delivery": attempt.delivery_id})
            return None, type(failed).__name__
