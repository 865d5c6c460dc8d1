"""What Lethe runs on: told as it is, and without a secret."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from core import leases, replicas, system, workers
from core.backend import Backend
from core.records import Model, Version
from core.settings import Settings
from tests.factories import entry_of, other, with_model
from tests.servers import free_port


def facts(part: system.Part) -> dict[str, str]:
    return dict(part.facts)


def test_processes_and_what_they_do(backend: Backend) -> None:
    model = with_model(backend)
    workers.beat(backend.db, "host-a:11", 60)
    workers.beat(backend.db, "by hand", -1)
    assert leases.take(backend.db, "sweep", "host-a:11", 60)
    replica = replicas.announce(backend.db, 60)
    with backend.db.reading() as session:
        found = {each.id: each for each in system.workers(session)}
        assert [each.doing for each in system.replicas(session)] == ["nothing yet"]
        version = session.query(Version).one()
    assert (found["host-a:11"].host, found["host-a:11"].pid) == ("host-a", 11)
    assert (found["host-a:11"].alive, found["host-a:11"].doing) == (True, "leads the sweep")
    assert (found["by hand"].host, found["by hand"].pid) == ("by hand", None)
    assert (found["by hand"].alive, found["by hand"].doing) == (False, "takes jobs")
    assert replicas.adopt(backend.db, replica, version, entry_of(version))
    failing = {"digest": None, "version": None, "error": "its file is gone"}
    assert replicas.renew(backend.db, replica, {model.id: entry_of(version), "x": failing}, 60)
    with backend.db.reading() as session:
        (served,) = system.replicas(session)
        assert session.query(Model).one().name == "digits"
    assert served.doing == "digits 1, x: nothing (its file is gone)"


def test_the_database_says_what_it_is(backend: Backend) -> None:
    with backend.db.reading() as session:
        part = system.database(session)
    assert part.ok
    assert re.match(r"(SQLite|PostgreSQL) \d+\.\d+", facts(part)["Kind"])
    assert re.match(r"revision 00\d\d$", facts(part)["Schema"])
    assert facts(part)["Size"].endswith(("kB", "MB"))


def test_the_broker_answers_or_not(settings: Settings, redis_url: str) -> None:
    assert facts(system.broker(settings))["Wake-ups waiting"] == "0"
    folder = settings.home / "broker" / "messages"
    folder.mkdir(parents=True)
    (folder / "one").touch()
    assert facts(system.broker(settings))["Wake-ups waiting"] == "1"
    there = system.broker(other(settings, broker_url=redis_url))
    assert there.ok
    assert re.match(r"Redis \d", facts(there)["Kind"])
    memory = system.broker(other(settings, broker_url="memory://localhost//"))
    assert memory.ok
    gone = system.broker(other(settings, broker_url=f"redis://u:geheim@127.0.0.1:{free_port()}/0"))
    assert not gone.ok
    assert "ConnectionError" in facts(gone)["Does not answer"]
    assert "geheim" not in str(gone)


def test_storage_and_what_room_is_left(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = sqlite_backend.settings
    with sqlite_backend.db.reading() as session:
        assert "Empty" in facts(system.storage(session, settings))
    with_model(sqlite_backend)
    with sqlite_backend.db.reading() as session:
        part = system.storage(session, settings)
        remote = system.storage(session, other(settings, store_url="s3://key:geheim@host/bucket"))
        room: Any = SimpleNamespace(free=1_400_000_000, total=100_000_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
        low = system.storage(session, settings)
    assert facts(part)["Checkpoints"] == "1"
    assert (low.ok, facts(low)["Free"]) == (False, "1.4 GB of 100 GB")
    assert "Low" in facts(low)
    assert (remote.ok, facts(remote)["Place"]) == (True, "s3://host/bucket")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:geheim@host:6379/0", "redis://host:6379/0"),
        ("postgresql://u:geheim@host/db?password=geheim", "postgresql://host/db"),
        ("postgresql://host/db?user=a@b&password=geheim", "postgresql://b"),
        ("sentinel://:geheim@a:1;sentinel://:geheim@b:2", "sentinel://b:2"),
        ("redis://:ge?heim@host/0", "redis://host/0"),
        ("/var/lib/lethe", "/var/lib/lethe"),
    ],
)
def test_no_secret_is_left_in_an_address(url: str, shown: str) -> None:
    assert system.masked(url) == shown


def test_settings_in_force_without_a_secret(settings: Settings) -> None:
    found = {
        each.name: each
        for each in system.settings_in_force(
            other(settings, database_url="postgresql://u:geheim@host/db")
        )
    }
    assert len(found) == len(Settings.model_fields)
    assert found["LETHE_SECRET"].value == system.HIDDEN
    assert found["LETHE_DATABASE_URL"].value == "postgresql://host/db"
    assert (found["LETHE_BROKER_URL"].value, found["LETHE_BROKER_URL"].given) == ("not set", False)
    assert (found["LETHE_DEVICE"].value, found["LETHE_HOME"].given) == ("auto", True)
    assert "a secret of" not in str(found)


def test_what_is_called_a_secret_is_kept_as_one() -> None:
    for name, field in Settings.model_fields.items():
        if re.search("secret|password|token", name):
            assert SecretStr in getattr(field.annotation, "__args__", [field.annotation]), name


def test_versions_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PACKAGES", ("lethe", "no-such-package"))
    found = dict(system.versions())
    assert found["no-such-package"] == "not installed"
    assert found["python"].startswith("3.")
    assert re.match(r"\d", found["lethe"])


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (7e15, "7000.0 TB")],
)
def test_sizes_in_words(count: float, words: str) -> None:
    assert system.size_of(count) == words
