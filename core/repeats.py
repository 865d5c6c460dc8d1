"""Answers that are kept for callers who ask again with the same Idempotency-Key, and for how long.

`core.book` and `core.bulk` write and read them. Here they are forgotten: an answer holds what its
caller wrote, such as an external id, and is of no use once no client asks again.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import cast

from sqlalchemy import CursorResult, delete, select, tuple_

from core.db import Database
from core.records import Idempotency

KEPT = timedelta(days=30)
"""Longer than any client goes on trying, and than a person takes to send a CSV file again."""

AT_ONCE = 1_000
"""Rows of one transaction: it holds the one writer of SQLite for milliseconds."""

PAUSE_SECONDS = 0.1
"""Between two transactions: so long another writer of SQLite may sleep before it asks again."""

MOST = 10_000
"""Rows of one call, which its caller waits for: what there is more of goes with later ones."""


def forget_old(db: Database) -> int:
    """Remove answers older than `KEPT`, the oldest first, at most `MOST`; returns how many."""
    columns = (Idempotency.key_id, Idempotency.value)
    gone = 0
    while gone < MOST:
        if gone:
            time.sleep(PAUSE_SECONDS)
        with db.transaction() as tx:
            oldest = (
                select(*columns)
                .where(Idempotency.created_at < tx.now - KEPT)
                .order_by(Idempotency.created_at)
                .limit(AT_ONCE)
            )
            done = tx.session.execute(
                delete(Idempotency).where(tuple_(*columns).in_(oldest)),
                execution_options={"synchronize_session": False},
            )
        removed = cast("CursorResult[None]", done).rowcount
        gone += removed
        if removed < AT_ONCE:
            break
    return gone
