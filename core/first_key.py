"""The embedded mode's key: all scopes, made at the first start, kept in LETHE_HOME/api-key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from core import keys
from core.db import Database
from core.errors import Unauthorized
from core.settings import Settings, made_once


@dataclass(frozen=True)
class FirstKey:
    """The key's text, the file that keeps it (mode 600), and whether it was made just now."""

    text: str
    path: Path
    made: bool


def ensure(db: Database, settings: Settings) -> FirstKey:
    """The key in force; makes one when there is none, or when the file's is no longer good.

    The file comes first and the record after it, so that processes which start together, and
    one that starts after a crash in between, all end up with the same key.
    """
    path = settings.home / "api-key"
    if path.is_file() and not _good(db, path):
        path.unlink(missing_ok=True)  # of another database, revoked, or damaged
    made = not path.is_file()
    text = made_once(path, lambda: keys.new_text().encode() + b"\n").decode().strip()
    if made:
        try:
            with db.transaction() as tx:
                keys.register(tx, text, "embedded", list(keys.SCOPES))
        except IntegrityError:
            made = False  # another process read the same file and was faster
    return FirstKey(text, path, made)


def _good(db: Database, path: Path) -> bool:
    try:
        with db.reading() as session:
            keys.recognise(session, path.read_text(errors="replace").strip())
    except Unauthorized:
        return False
    return True
