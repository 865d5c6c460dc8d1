"""When each key was last used: noted at most once a minute a key, beside the call."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from core import keys
from core.db import Database

log = logging.getLogger(__name__)


class KeyUse:
    """Writes `last_used_at` in a thread of its own: a read never waits for a writer's lock."""

    def __init__(self, db: Database, seconds: float = 60.0) -> None:
        self._db = db
        self._seconds = seconds
        self._noted: dict[str, float] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="key-use")

    def note(self, key_id: str) -> None:
        """This key was used now. Only keys that exist come here, so the record stays small."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -self._seconds) >= self._seconds:
            self._noted[key_id] = now
            self._writer.submit(self._write, key_id, datetime.now(UTC))

    def _write(self, key_id: str, at: datetime) -> None:
        try:
            keys.touch(self._db, key_id, at)
        except Exception as error:  # noqa: BLE001  # any: a note is not worth an outage
            log.warning("could not note the use of key %s: %s", key_id, error)

    def close(self) -> None:
        """Write what is pending and end the thread."""
        self._writer.shutdown(wait=True)
