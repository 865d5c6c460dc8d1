"""Migrations: from nothing to now, twice, by two at once, and exactly what the records say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from core import audit, records  # noqa: F401  # fills Base.metadata
from core.db import Base, Database
from core.errors import SettingsError
from core.migrate import is_current, require_current, upgrade
from tests.integration.core.helpers import at_once, opened


def test_an_upgrade_twice_is_an_upgrade_once(empty_db: Database) -> None:
    assert not is_current(empty_db.engine)
    with pytest.raises(SettingsError, match="run `lethe db upgrade`"):
        require_current(empty_db)
    upgrade(empty_db)
    with empty_db.transaction() as tx:
        tx.record("thing", "id", "made")
    upgrade(empty_db)
    assert is_current(empty_db.engine)
    require_current(empty_db)
    with empty_db.reading() as session:
        assert audit.head_of(session)[0] == 1


def test_the_schema_is_what_the_records_say(empty_db: Database) -> None:
    upgrade(empty_db)
    with empty_db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == {*Base.metadata.tables, "alembic_version"}


def test_migrators_at_once_wait_for_one_another(empty_url: str) -> None:
    databases = [opened(empty_url) for _ in range(4)]
    assert at_once(*[lambda db=db: upgrade(db) for db in databases]) == [None] * 4
    assert is_current(databases[0].engine)
    for db in databases:
        db.close()


MIGRATE = """
import sys
from core import audit
from core.db import Database
from core.migrate import upgrade
upgrade(Database(sys.argv[1], chain=audit.chain))
"""


def test_processes_at_once_on_a_new_database(empty_url: str) -> None:
    """Service and worker start together, and there is no table yet; embedded, not even a file."""
    command = [sys.executable, "-c", MIGRATE, empty_url]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], errors


def test_a_newer_database_is_left_alone(empty_db: Database) -> None:
    upgrade(empty_db)
    with empty_db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_current(empty_db.engine)
    with pytest.raises(SettingsError, match="If a newer version has been here") as caught:
        upgrade(empty_db)
    assert "\n" not in str(caught.value)


def test_a_failed_upgrade_leaves_nothing(empty_db: Database) -> None:
    with empty_db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (id integer)"))  # in the way of ours
    with pytest.raises(Exception, match="jobs"):
        upgrade(empty_db)
    with empty_db.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["jobs"]


def test_looking_at_the_revision_waits_for_no_writer(empty_db: Database) -> None:
    upgrade(empty_db)
    with empty_db.transaction() as tx:
        tx.session.execute(text("DELETE FROM leases"))
        assert is_current(empty_db.engine)
