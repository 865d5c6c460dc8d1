"""A downgrade that would lose data is refused before it changes anything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from core.errors import SettingsError


def refuse_if(table: str, where: str | None, what: str) -> None:
    """Raise `SettingsError` when `table` has rows (that satisfy `where`): `what` would be lost.

    Both arguments are written in the migrations; no caller's value reaches them.
    """
    condition = f" WHERE {where}" if where else ""
    query = f"SELECT count(*) FROM {table}{condition}"  # noqa: S608
    rows = op.get_bind().scalar(sa.text(query))
    if rows:
        raise SettingsError(
            f"this downgrade would lose {what} ({rows} rows of {table}); nothing was changed. "
            "Restore a backup of the older revision instead"
        )
