"""Who decided: the id of the API key by which an audit event came about, as its `by`.

A key's id names no person. What workers and the service do by themselves has no `by`, nor has
what somebody does on the command line of the machine itself.
"""

from __future__ import annotations

from dataclasses import replace

from core.db import Transaction


def asked_by(key_id: str | None) -> dict[str, str]:
    """The same of what is asked for with this key, for the one event that tells of it."""
    return {} if key_id is None else {"by": key_id}


def decided_by(tx: Transaction, key_id: str | None) -> None:
    """Say of all that this transaction has recorded so far that the holder of this key decided it.

    Whoever opens the transaction for a caller says so last; what follows by itself at the commit
    is recorded later.
    """
    if key_id is not None:
        tx.events[:] = [replace(each, data={**each.data, "by": key_id}) for each in tx.events]
