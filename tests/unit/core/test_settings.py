"""Settings: from the environment, checked at assembly, refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import Settings, made_once, read_settings
from tests.factories import other

GOOD = "sixteen characters and more"
POSTGRES = "postgresql://user:pw@host/lethe"


def test_embedded_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings()
    assert settings.embedded
    assert settings.database == f"sqlite:///{tmp_path}/var/lethe.db"
    assert settings.store == f"{tmp_path}/var/store"
    assert (tmp_path / "var").is_dir()


def test_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOME": str(tmp_path),
        "DATABASE_URL": POSTGRES,
        "SECRET": GOOD,
        "LEASE_SECONDS": "1.5",
        "STORE_URL": "s3://bucket/path",
        "BATCH_SECONDS": "",  # empty is not given
    }.items():
        monkeypatch.setenv(f"LETHE_{name}", value)
    settings = read_settings()
    assert not settings.embedded
    assert (settings.lease_seconds, settings.batch_seconds) == (1.5, 0.0)
    assert settings.store == "s3://bucket/path"
    assert settings.secret_bytes == GOOD.encode()


def test_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    for name, text in {
        "DATABASE_URL": f"{POSTGRES}\n",
        "SECRET": GOOD,
        "LEASE_SECONDS": "2",
    }.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"LETHE_{name}_FILE", str(tmp_path / name))
    settings = read_settings()
    assert (settings.database_url, settings.lease_seconds) == (POSTGRES, 2.0)
    assert settings.secret_bytes == GOOD.encode()
    assert read_settings(lease_seconds=3).lease_seconds == 3


@pytest.mark.parametrize(
    ("content", "variable", "words"),
    [
        (b"", None, r"LETHE_SECRET_FILE \(.*\) is empty"),
        (b"\xff\xfe", None, r"LETHE_SECRET_FILE \(.*\) cannot be read: it is not text"),
        (None, None, r"LETHE_SECRET_FILE \(.*\) cannot be read: No such file or directory"),
        (b"a secret in a file", GOOD, "LETHE_SECRET and LETHE_SECRET_FILE are both set"),
    ],
)
def test_a_file_that_says_nothing_is_refused(
    content: bytes | None,
    variable: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("LETHE_SECRET_FILE", str(path))
    if variable:
        monkeypatch.setenv("LETHE_SECRET", variable)
    with pytest.raises(SettingsError, match=words):
        read_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_the_driver_is_chosen(settings: Settings, url: str, expected: str) -> None:
    assert other(settings, database_url=url).database == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_SECONDS", "soon"),
        ("LEASE_SECONDS", "0"),
        ("REPLICA_LEASE_SECONDS", "-1"),
        ("BATCH_SECONDS", "-0.1"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_BODY_BYTES", "many"),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LETHE_{name}", value)
    with pytest.raises(SettingsError, match=f"LETHE_{name}: .* got '{value}'") as caught:
        read_settings(home=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "message"), [(None, "LETHE_SECRET is not set"), ("short", "shorter than 16")]
)
def test_production_refuses_to_run_without_a_secret(
    tmp_path: Path, secret: str | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(home=tmp_path, database_url=POSTGRES, secret=secret)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "secret").exists()


def test_a_short_secret_is_refused_in_embedded_mode_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shorter than 16"):
        read_settings(home=tmp_path, secret="short")


def test_secrets_are_not_shown() -> None:
    assert GOOD not in repr(Settings(secret=GOOD))


def test_embedded_mode_makes_a_secret_and_keeps_it(tmp_path: Path) -> None:
    first, second = read_settings(home=tmp_path), read_settings(home=tmp_path)
    assert first.secret_bytes == second.secret_bytes
    assert len(first.secret_bytes) >= 32
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"LETHE_HOME .* cannot be used"):
        read_settings(home=tmp_path / "file")


def test_a_home_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so the kernel's answer is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(SettingsError, match="not writable"):
        read_settings(home=tmp_path)


MAKE_MANY = """
import os, pathlib, sys, time
from core.settings import made_once
home = pathlib.Path(sys.argv[1])
(home / f"ready-{os.getpid()}").touch()
while not (home / "go").exists():
    time.sleep(0.001)
for i in range(50):
    print(made_once(home / str(i) / "secret", lambda: os.urandom(16)).hex())
"""


def test_processes_that_start_together_agree_on_a_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE_MANY, str(tmp_path)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    found = {maker.communicate(timeout=60)[0] for maker in makers}
    assert len(found) == 1
    assert len(found.pop().split()) == 50
    assert {p.name for p in tmp_path.glob("*/*")} == {"secret"}


def test_a_secret_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        made_once(tmp_path / "secret", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"store_access_key": "a"}, "belong together"),
        ({"store_url": "s3://key:secret@bucket/lethe"}, "without keys"),
        ({"store_url": "s3://"}, "want s3://BUCKET"),
        ({"store_url": "gs://bucket/lethe"}, "gs:// is not supported"),
    ],
)
def test_a_store_that_cannot_be_one_is_refused_without_its_keys(
    tmp_path: Path, changed: dict[str, str], expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected) as told:
        read_settings(home=tmp_path, **changed)
    assert "key:secret" not in str(told.value)


def test_the_keys_of_a_store_are_masked(tmp_path: Path) -> None:
    read = read_settings(home=tmp_path, store_access_key="known", store_secret_key="hidden")
    assert "known" not in repr(read)
    assert "hidden" not in repr(read)
