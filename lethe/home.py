"""What the commands work with: database and stores on this machine, or a service elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import LetheError
from core.settings import Settings, read_settings

if TYPE_CHECKING:
    from core.backend import Backend


@contextmanager
def opened() -> Iterator[Backend]:
    """Database and stores that the environment names.

    Embedded mode brings its database up to date first; in production `lethe db upgrade` does,
    and `SettingsError` says so, as it does of a bucket that cannot be used.
    """
    with opened_with(read_settings()) as backend:
        yield backend


@contextmanager
def opened_with(settings: Settings) -> Iterator[Backend]:
    """The same for settings read already."""
    from core import migrate, rotation
    from core.backend import open_backend

    backend = open_backend(settings)
    try:
        backend.check_store()
        if not settings.embedded:
            migrate.require_current(backend.db)
        elif not migrate.is_current(backend.db.engine):
            migrate.upgrade(backend.db)
        rotation.require_current(backend)
        yield backend
    finally:
        backend.close()


def service_url() -> str:
    """Where the service is: LETHE_URL, or this machine."""
    return os.environ.get("LETHE_URL") or "http://127.0.0.1:8000"


def api_key() -> str | None:
    """LETHE_API_KEY, what LETHE_API_KEY_FILE holds, or the embedded mode's under LETHE_HOME."""
    given = os.environ.get("LETHE_API_KEY")
    if given:
        return given.strip()
    named = os.environ.get("LETHE_API_KEY_FILE")
    path = Path(named) if named else Path(os.environ.get("LETHE_HOME") or "var") / "api-key"
    try:
        return path.read_text().strip()
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError):
            return None
        raise LetheError(f"the API key in {path} cannot be read: {error.strerror}") from None
