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
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from core.db import Database
from core.errors import SettingsError

_LOCK = 0x6C65746865  # "lethe", for PostgreSQL's advisory locks

WAIT_SECONDS = 30.0
"""How long a migrator waits for another one, and for whoever uses a table that it changes."""

STATEMENT_SECONDS = 3600
"""How long one statement of a migration may take: it may rewrite a large table."""


def _config() -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).resolve().parent.parent / "migrations")
    )
    return config


def upgrade(db: Database, revision: str = "head", *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Run the migrations that are missing, all of them or none.

    Two migrators wait for one another. Raises `SettingsError` when a lock cannot be had
    within `wait_seconds`, and for a database that a newer version has migrated.
    """
    config = _config()
    with _alone(db, wait_seconds) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(db: Database, revision: str, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Go back to an earlier revision, or to "base", before running an older version of Lethe.

    Raises `SettingsError`, as `upgrade` does, and when the way back would lose data.
    """
    config = _config()
    with _alone(db, wait_seconds) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


@contextmanager
def _alone(db: Database, wait_seconds: float) -> Iterator[Connection]:
    """A transaction that no other migrator has meanwhile, its errors in one line."""
    try:
        with db.engine.connect() as connection, _prepared(connection, wait_seconds).begin():
            if connection.dialect.name == "postgresql":
                # The advisory lock too is subject to lock_timeout.
                connection.exec_driver_sql(
                    f"SET LOCAL lock_timeout = {int(wait_seconds * 1000)};"
                    f"SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000}"
                )
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection
            if connection.dialect.name == "sqlite":
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                assert not broken, f"a migration left rows without what they refer to: {broken}"
    except CommandError as error:
        raise SettingsError(
            f"this version of Lethe cannot bring the database there: {error}. "
            "If a newer version has been here, run that one"
        ) from None
    except OperationalError as error:
        if not _timed_out(error):
            raise
        raise SettingsError(
            f"the database's schema was not changed: a lock on it could not be had within "
            f"{wait_seconds:g} s. Another migration runs, or a long transaction uses a table; "
            "try again when it has ended"
        ) from None


def _prepared(connection: Connection, wait_seconds: float) -> Connection:
    """SQLite: wait for its one lock so long, and let tables be rebuilt that others refer to.

    Both are set before a transaction begins, on a connection that nobody else will get.
    """
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        connection.detach()
        driver.execute(f"PRAGMA busy_timeout = {int(wait_seconds * 1000)}")
        driver.execute("PRAGMA foreign_keys = OFF")
    return connection


def _timed_out(error: OperationalError) -> bool:
    return "lock timeout" in str(error.orig) or "database is locked" in str(error.orig)


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
