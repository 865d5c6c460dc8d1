"""Databases with nothing in them.

empty_url   the URL of one; runs the test twice: on SQLite and on PostgreSQL
empty_db    the same, opened
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db import Database
from tests.integration.core.helpers import opened
from tests.servers import postgres_database


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lethe.db'}"
        return
    with postgres_database(request.getfixturevalue("postgres_url")) as url:
        yield url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def empty_db(empty_url: str) -> Iterator[Database]:
    db = opened(empty_url)
    yield db
    db.close()
