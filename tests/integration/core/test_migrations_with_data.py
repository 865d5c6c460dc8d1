"""Migrations of a database in use: nothing is lost, nobody is kept waiting, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from core import migrate
from core.db import Base, Database
from core.errors import SettingsError
from tests.integration.core.helpers import opened

REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(migrate._config()).walk_revisions()))
]
HEAD, BEFORE = REVISIONS[-1], REVISIONS[:-1]


def value_for(column: sa.Column[Any]) -> Any:
    """Equal for equal types, so that foreign keys find their rows."""
    kind = column.type
    if isinstance(kind, sa.DateTime):
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        return moment if getattr(kind, "timezone", False) else moment.replace(tzinfo=None)
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.JSON):
        return {"a": [1]}
    return 1 if isinstance(kind, sa.Integer | sa.Float) else "x"


def tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def populate(db: Database) -> dict[str, Any]:
    """One row in every table that there is at this revision."""
    with db.engine.begin() as connection:
        for table in tables(connection):
            row = {column.name: value_for(column) for column in table.columns}
            connection.execute(table.insert().values(row))
    return contents(db)


def contents(db: Database) -> dict[str, Any]:
    with db.engine.connect() as connection:
        return {
            table.name: dict(connection.execute(table.select()).mappings().one())
            for table in tables(connection)
            if connection.scalar(sa.select(sa.func.count()).select_from(table))
        }


@contextmanager
def revision_kept(db: Database) -> Iterator[None]:
    """Whatever is tried inside leaves schema and data as they were."""
    before = revision(db), contents(db)
    yield
    assert (revision(db), contents(db)) == before


def revision(db: Database) -> str:
    with db.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


@pytest.mark.parametrize("start", BEFORE)
def test_an_upgrade_keeps_what_is_there(empty_db: Database, start: str) -> None:
    migrate.upgrade(empty_db, start)
    before = populate(empty_db)
    migrate.upgrade(empty_db)
    after = contents(empty_db)
    for table, row in before.items():
        assert row.items() <= after[table].items()
    with empty_db.reading() as session:
        for mapper in Base.registry.mappers:
            expected = mapper.local_table.name in before
            assert len(session.scalars(sa.select(mapper.class_)).all()) == expected


def test_a_way_back_that_loses_data_is_refused(empty_db: Database) -> None:
    migrate.upgrade(empty_db)
    populate(empty_db)
    for to in ("base", *BEFORE):
        with (
            revision_kept(empty_db),
            pytest.raises(SettingsError, match=r"would lose .*; nothing was changed\. Restore"),
        ):
            migrate.downgrade(empty_db, to)


def test_a_way_back_that_loses_nothing_is_open(empty_db: Database) -> None:
    migrate.upgrade(empty_db, REVISIONS[0])
    before = populate(empty_db)
    migrate.upgrade(empty_db)
    migrate.downgrade(empty_db, REVISIONS[0])
    assert revision(empty_db) == REVISIONS[0]
    assert contents(empty_db) == before
    migrate.upgrade(empty_db)
    assert migrate.is_current(empty_db.engine)


def test_an_empty_database_can_be_taken_away(empty_db: Database) -> None:
    migrate.upgrade(empty_db)
    migrate.downgrade(empty_db, "base")
    with empty_db.engine.connect() as connection:
        assert tables(connection) == []


def test_a_revision_that_is_not_there(empty_db: Database) -> None:
    migrate.upgrade(empty_db)
    with (
        revision_kept(empty_db),
        pytest.raises(SettingsError, match="cannot bring the database there"),
    ):
        migrate.downgrade(empty_db, "0815")


def test_a_table_in_use_is_waited_for_so_long_and_no_longer(
    empty_db: Database, empty_url: str
) -> None:
    migrate.upgrade(empty_db, "0002")  # what follows it changes the table of jobs
    populate(empty_db)
    other = opened(empty_url)
    with revision_kept(empty_db), other.engine.connect() as connection:
        transaction = connection.begin()  # on SQLite this takes the lock
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("LOCK TABLE jobs IN ACCESS SHARE MODE"))
        with pytest.raises(SettingsError, match=r"not changed: a lock .* within 0\.2 s") as caught:
            migrate.upgrade(empty_db, wait_seconds=0.2)
        assert "\n" not in str(caught.value)
        transaction.rollback()
    migrate.upgrade(empty_db)
    assert migrate.is_current(empty_db.engine)
    other.close()


def test_another_migrator_is_waited_for_so_long_and_no_longer(
    empty_db: Database, empty_url: str
) -> None:
    migrate.upgrade(empty_db, BEFORE[-1])
    other = opened(empty_url)
    with migrate._alone(other, 1.0), pytest.raises(SettingsError, match="Another migration runs"):
        migrate.upgrade(empty_db, wait_seconds=0.2)
    migrate.upgrade(empty_db)
    other.close()


def test_another_fault_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    db = opened(f"sqlite:///{tmp_path / 'no' / 'lethe.db'}")
    with pytest.raises(sa.exc.OperationalError, match="unable to open"):
        migrate.upgrade(db)
    db.close()
