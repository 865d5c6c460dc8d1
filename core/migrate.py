"""Bringing the database to the newest revision, one migrator at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text

from core.db import Database
from core.errors import SettingsError

_LOCK = 0x6C65746865  # "lethe", for PostgreSQL's advisory locks


def _config() -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).resolve().parent.parent / "migrations")
    )
    return config


def upgrade(db: Database, revision: str = "head") -> None:
    """Run the migrations that are missing. Two migrators wait for one another."""
    config = _config()
    with _known_revision(), db.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _known_revision() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise SettingsError(
            f"the database cannot be upgraded by this version of Lethe: {error}. "
            "A newer version has been here; run that one"
        ) from None


def is_current(engine: Engine) -> bool:
    """Is the database at the newest revision?"""
    with engine.connect().execution_options(lethe_reading=True) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def require_current(db: Database) -> None:
    """Raise `SettingsError` unless the database is at the newest revision."""
    if not is_current(db.engine):
        raise SettingsError(
            "the database is not at this version's revision; run `lethe db upgrade` first"
        )
