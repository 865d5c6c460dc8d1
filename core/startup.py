"""What every process that opens a database does first."""

from __future__ import annotations

from core import first_key, migrate, rotation
from core.backend import Backend
from core.first_key import FirstKey


def prepare(backend: Backend) -> FirstKey | None:
    """Bring the embedded mode up to date, and return its key; check that production is.

    Raises `SettingsError` when a production database waits for `lethe db upgrade`. Doing it
    twice, or in two processes at once, changes nothing.
    """
    if not backend.settings.embedded:
        migrate.require_current(backend.db)
        rotation.require_current(backend)
        return None
    if not migrate.is_current(backend.db.engine):
        migrate.upgrade(backend.db)
    rotation.require_current(backend)
    return first_key.ensure(backend.db, backend.settings)
