"""A deployment's first key: all scopes, made at the first start, kept in LETHE_HOME/api-key.

The embedded mode makes one by itself; in production only `lethe.seed` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from core import keys
from core._directories import sync_directory
from core.db import Database
from core.errors import Unauthorized
from core.settings import Settings, made_once


@dataclass(frozen=True)
class FirstKey:
    """The key's text, the file that keeps it (mode 600), and whether it was made just now."""

    text: str
    path: Path
    made: bool


def ensure(db: Database, settings: Settings, name: str = "embedded") -> FirstKey:
    """The key in force; makes one, called `name`, when there is none or the file's is not good.

    SQLite's transaction lets one process at a time look and make; on PostgreSQL the caller sees
    to it that it is alone. The file comes before the record: after a crash in between, the next
    start replaces the file.
    """
    path = settings.home / "api-key"
    with db.transaction() as tx:
        tx.session.connection()  # begins: the lock is taken before the file is looked at
        text = _good(tx.session, path)
        if text is not None:
            return FirstKey(text, path, made=False)
        path.unlink(missing_ok=True)  # of another database, revoked, or damaged
        text = made_once(path, lambda: keys.new_text().encode() + b"\n").decode().strip()
        keys.register(tx, text, name, list(keys.SCOPES))
    return FirstKey(text, path, made=True)


def replace(settings: Settings, text: str) -> bool:
    """Keep this new text of the embedded mode's key, if it is that key's; else leave the file."""
    path = settings.home / "api-key"
    if not path.is_file():
        return False
    if path.read_text(errors="replace").partition(".")[0] != text.partition(".")[0]:
        return False
    draft = path.with_name(".api-key.new")
    draft.unlink(missing_ok=True)
    made_once(draft, lambda: text.encode() + b"\n")
    draft.replace(path)
    sync_directory(path.parent)
    return True


def _good(session: Session, path: Path) -> str | None:
    if not path.is_file():
        return None
    text = path.read_text(errors="replace").strip()
    try:
        keys.recognise(session, text)
    except Unauthorized:
        return None
    return text
