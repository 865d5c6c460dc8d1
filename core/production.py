"""What may be tried out with but not run in production, and settings that are lists."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.errors import SettingsError

_PLACEHOLDERS = re.compile(
    "change|me|default|secret|password|passphrase|placeholder|example|insecure|lethe|test|"
    "your|here|the|key|dev|admin|foo|bar|abc|qwerty|todo|fixme|x+"
)
_FEWEST_CHARACTERS = 6


def weak(secret: str) -> bool:
    """Is this a placeholder that somebody forgot to replace, or nearly one character?

    What remains without words that placeholders are made of must have some variety.
    """
    remaining = _PLACEHOLDERS.sub("", secret.lower())
    return len(set(re.sub(r"[\W_]", "", remaining))) < _FEWEST_CHARACTERS


def check_database(url: str | None, *, production: bool) -> None:
    """Refuse SQLite where production was asked for, by LETHE_PRODUCTION or by naming a database.

    Raises `SettingsError`.
    """
    if url is None and production:
        raise SettingsError(
            "LETHE_PRODUCTION is set and LETHE_DATABASE_URL is not: without it the embedded mode "
            "runs, with SQLite on this machine alone. Name a PostgreSQL database"
        )
    if url is not None and url.startswith("sqlite"):
        raise SettingsError(
            "LETHE_DATABASE_URL names SQLite, which production cannot run on: name a PostgreSQL "
            "database, or leave it out for the embedded mode"
        )


def origins(text: str | None) -> tuple[str, ...]:
    """The origins in LETHE_CORS_ORIGINS; raises `SettingsError` for what is none."""
    found = _parts(text)
    for each in found:
        parts = urlsplit(each)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != each:
            raise SettingsError(
                f"LETHE_CORS_ORIGINS: {each!r} is no origin, such as https://app.example.org"
            )
    return found


def proxies(text: str | None) -> tuple[str, ...]:
    """The addresses in LETHE_TRUSTED_PROXIES; raises `SettingsError` for what is none."""
    found = _parts(text)
    for each in found:
        try:
            ipaddress.ip_network(each, strict=False)
        except ValueError:
            raise SettingsError(
                f"LETHE_TRUSTED_PROXIES: {each!r} is no address or network, such as 10.0.0.7 or "
                "10.0.0.0/24"
            ) from None
    return found


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def check_store(store: str, key: SecretStr | None, secret: SecretStr | None) -> None:
    """Refuse a store that is neither a path nor a bucket, and half a pair of keys."""
    scheme, separate, place = store.partition("://")
    if separate and scheme not in ("s3", "file"):
        raise SettingsError(
            f"LETHE_STORE_URL: {scheme}:// is not supported; use a path, or s3://BUCKET/PREFIX"
        )
    if scheme == "s3" and (not place.strip("/") or "@" in place or "?" in place):
        raise SettingsError(
            "LETHE_STORE_URL: want s3://BUCKET/PREFIX, without keys or options; they belong into "
            "LETHE_STORE_ACCESS_KEY, LETHE_STORE_SECRET_KEY and LETHE_STORE_ENDPOINT"
        )
    if (key is None) != (secret is None):
        raise SettingsError(
            "LETHE_STORE_ACCESS_KEY and LETHE_STORE_SECRET_KEY belong together: set both or none"
        )
