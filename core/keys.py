"""API keys: made, listed, revoked, recognised. Only a digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db import Database, Transaction, database_now
from core.errors import Invalid, NotFound, Unauthorized
from core.ids import new_id
from core.records import ApiKey

SCOPES = ("erase", "predict", "read", "review", "admin")


@dataclass(frozen=True)
class Caller:
    """Who calls: the key's id, its name and its scopes."""

    key_id: str
    name: str
    scopes: frozenset[str]


def create(
    tx: Transaction, name: str, scopes: list[str], *, days: int | None = None
) -> tuple[ApiKey, str]:
    """A new key: its record, and its text, which is shown this once.

    Raises `Invalid` for a scope that does not exist, or for none.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise Invalid(f"unknown scope {', '.join(unknown) or '(none)'}; use {', '.join(SCOPES)}")
    if days is not None and not 1 <= days <= 36_500:
        raise Invalid("a key must be good for at least one day, and for 36500 at most")
    text = new_text()
    return register(tx, text, name, scopes, days=days), text


def new_text() -> str:
    """The text of a new key: its public id, a dot, and 256 random bits."""
    return f"{new_id('key')}.{secrets.token_urlsafe(32)}"


def register(
    tx: Transaction, text: str, name: str, scopes: list[str], *, days: int | None = None
) -> ApiKey:
    """The record of a key text from `new_text`."""
    key_id, _, secret = text.partition(".")
    record = ApiKey(
        id=key_id,
        name=name,
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        created_at=tx.now,
        expires_at=tx.now + timedelta(days=days) if days else None,
    )
    tx.session.add(record)
    tx.record("key", record.id, "created", scopes=record.scopes)
    return record


def recognise(session: Session, text: str) -> Caller:
    """The caller that this key text stands for; raises `Unauthorized` without saying which part.

    The digests are compared in constant time, and an unknown id costs the same comparison.
    """
    key_id, _, secret = text.partition(".")
    record = session.get(ApiKey, key_id)
    good = hmac.compare_digest(_digest(secret), record.digest if record else _digest(""))
    if not good:
        record = None
    return _caller(session, record)


def holder(session: Session, key_id: str) -> Caller:
    """The caller of a session that was begun with this key; raises `Unauthorized`, as above."""
    return _caller(session, session.get(ApiKey, key_id))


def _caller(session: Session, record: ApiKey | None) -> Caller:
    if record is None:
        raise Unauthorized("this API key is not known; make one with `lethe keys create`")
    if record.revoked_at is not None:
        raise Unauthorized("this API key was revoked; ask for a new one")
    if record.expires_at is not None and record.expires_at <= database_now(session):
        raise Unauthorized("this API key has expired; ask for a new one")
    return Caller(record.id, record.name, frozenset(record.scopes))


def touch(db: Database, key_id: str, at: datetime) -> None:
    """Note that the key was used; callers do this at most once a minute a key."""
    with db.transaction() as tx:
        tx.session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=at))


def revoke(tx: Transaction, key_id: str) -> ApiKey:
    """End a key at once; doing so twice changes nothing. Raises `NotFound`."""
    record = tx.session.get(ApiKey, key_id, with_for_update=True)
    if record is None:
        raise NotFound(f"there is no key {key_id}; `lethe keys list` shows them")
    if record.revoked_at is None:
        record.revoked_at = tx.now
        tx.record("key", record.id, "revoked")
    return record


def listed(session: Session) -> list[ApiKey]:
    """Every key, newest first, the revoked ones too."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc())))


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a fast digest is enough, nothing can be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
