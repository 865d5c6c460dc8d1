"""Alembic's environment: the connection is given by core.migrate."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from core import records  # noqa: F401  # fills Base.metadata
from core.db import Base, UtcDateTime

_JSON = 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'


def _render(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Types as they are in the database, so that a revision never changes with the code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, sa.JSON):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return _JSON
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter in place
    compare_type=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
