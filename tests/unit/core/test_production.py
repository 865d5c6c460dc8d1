"""What production refuses to start with."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from core import production
from core.errors import SettingsError
from core.settings import read_settings

POSTGRES = "postgresql://lethe@127.0.0.1/lethe"
GOOD = "vZ2mJq0b1uT9sXw4kE7c"


@pytest.mark.parametrize(
    "secret",
    [
        "change-me-please-change-me",
        "changemechangeme",
        "your-secret-key-here",
        "insecure-default-secret",
        "lethe-lethe-lethe-lethe",
        "passwordpassword1234",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "0000000000000000",
        "XXXXXXXXXXXXXXXXXXXXXXXX",
    ],
)
def test_a_placeholder_is_no_secret(tmp_path: Path, secret: str) -> None:
    with pytest.raises(SettingsError, match="placeholder or too simple") as caught:
        read_settings(home=tmp_path, database_url=POSTGRES, secret=secret)
    assert secret not in str(caught.value)
    read_settings(home=tmp_path, secret=secret)  # to try Lethe out it will do


def test_random_ones_are_taken() -> None:
    for _ in range(500):
        assert not production.weak(secrets.token_urlsafe(32))
        assert not production.weak(secrets.token_hex(16))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"production": True}, "LETHE_PRODUCTION is set and LETHE_DATABASE_URL is not"),
        ({"database_url": "sqlite:///x.db", "secret": GOOD}, "names SQLite"),
        ({"cors_origins": "*"}, "'\\*' is no origin"),
        ({"cors_origins": "https://a.example/path"}, "is no origin"),
        ({"cors_origins": "https://a.example, a.example"}, "'a.example' is no origin"),
        ({"trusted_proxies": "*"}, "'\\*' is no address"),
        ({"trusted_proxies": "10.0.0.1,proxy"}, "'proxy' is no address"),
    ],
)
def test_what_no_process_starts_with(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(home=tmp_path, **values)
    assert "\n" not in str(caught.value)


def test_what_it_does_start_with(tmp_path: Path) -> None:
    found = read_settings(
        home=tmp_path,
        production=True,
        database_url=POSTGRES,
        secret=GOOD,
        cors_origins="https://a.example, http://127.0.0.1:3000",
        trusted_proxies="10.0.0.7, 10.1.0.0/16, ::1",
    )
    assert production.origins(found.cors_origins) == ("https://a.example", "http://127.0.0.1:3000")
    assert production.proxies(found.trusted_proxies) == ("10.0.0.7", "10.1.0.0/16", "::1")
    assert (production.origins(None), production.proxies("")) == ((), ())
