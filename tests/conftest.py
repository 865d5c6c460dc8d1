"""Fixtures for every test. Servers are real and start once a run; none is mocked or skipped.

settings       embedded settings under a home of the test's own
postgres_url   a PostgreSQL server (once a run): make databases on it, never use its own
postgres_db    the URL of a migrated PostgreSQL database of the test's own
redis_url      a Redis server (once a run), emptied before each test that asks for it
backend        an open, migrated Backend; runs the test twice: on SQLite and on PostgreSQL
sqlite_backend, postgres_backend   the same, on one of the two
trained        a home, made once a run, to copy: data set and model "digits", with a trigger planted
bucket         a versioned S3 bucket of the test's own, on a server that runs once a run

Wake-ups of these backends go to the real embedded broker under the test's home. Data sets,
models and requests: tests/factories.py. Servers: tests/servers.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import settings as hypothesis_settings

from core import audit
from core.backend import Backend, open_backend
from core.db import Database
from core.migrate import upgrade
from core.settings import Settings
from tests import buckets, servers
from tests.once import once_a_run

# Shared machines pause at will; a test that hangs meets pytest's time limit instead.
hypothesis_settings.register_profile("lethe", deadline=None)
hypothesis_settings.load_profile("lethe")

SECRET = "a secret of at least sixteen characters"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No LETHE_* variable of the person who runs the tests reaches what is tested."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LETHE_{name.upper()}", raising=False)
        monkeypatch.delenv(f"LETHE_{name.upper()}_FILE", raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Embedded settings; `settings.model_copy(update={...})` for others."""
    return _settings(tmp_path)


def _settings(tmp_path: Path, **values: Any) -> Settings:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Settings(home=home, secret=SECRET, **values)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The server. `tests.servers.postgres_database(postgres_url)` makes an empty database."""
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_template(postgres_url: str) -> Iterator[str]:
    with servers.postgres_database(postgres_url) as url:
        _migrate(Settings(database_url=url).database)
        yield url


@pytest.fixture
def postgres_db(postgres_url: str, _postgres_template: str) -> Iterator[str]:
    """A migrated database, for LETHE_DATABASE_URL: copied from a template, dropped after."""
    with servers.postgres_database(postgres_url, template=_postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[str]:
    with servers.redis_server() as url:
        yield url


@pytest.fixture
def redis_url(_redis_server: str) -> str:
    """For LETHE_BROKER_URL."""
    with redis.Redis.from_url(_redis_server) as client:
        client.flushall()
    return _redis_server


@pytest.fixture(scope="session")
def s3() -> Iterator[buckets.Server]:
    """An S3 server."""
    with buckets.s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: buckets.Server, monkeypatch: pytest.MonkeyPatch) -> buckets.TestBucket:
    """Versioned, as production's often are: nothing that is deleted is gone by itself."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return s3.bucket(versioned=True)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "lethe.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_backend(tmp_path: Path, _sqlite_template: Path) -> Iterator[Backend]:
    """Embedded mode: SQLite."""
    settings = _settings(tmp_path)
    shutil.copy(_sqlite_template, settings.home / "lethe.db")
    yield from _opened(settings)


@pytest.fixture
def postgres_backend(tmp_path: Path, postgres_db: str) -> Iterator[Backend]:
    """Production's database; stores and broker lie under the test's home."""
    yield from _opened(_settings(tmp_path, database_url=postgres_db))


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Both, one after the other."""
    name = "sqlite_backend" if request.param == "sqlite" else "postgres_backend"
    opened: Backend = request.getfixturevalue(name)
    return opened


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never to be written to."""
    from tests.digits import train_digits  # PyTorch takes seconds to load

    def make(home: Path) -> None:
        backend = open_backend(Settings(home=home, secret=SECRET), send=lambda _: None)
        train_digits(backend)
        backend.close()

    return once_a_run(tmp_path_factory, "trained-in-process", make)


def _opened(settings: Settings) -> Iterator[Backend]:
    opened = open_backend(settings)
    yield opened
    opened.close()


def _migrate(url: str) -> None:
    db = Database(url, chain=audit.chain)
    upgrade(db)
    db.close()
