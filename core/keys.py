"""API keys: made, listed, rotated, revoked, recognised. Only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import registry
from core.db import Database, Transaction, database_now
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from core.ids import new_id
from core.records import ApiKey, Model

SCOPES = ("erase", "predict", "read", "review", "admin")

MOST_DAYS = 36_500

MOST_OVERLAP = timedelta(days=90)
"""How long a secret may stay good beside its successor."""

_UNKNOWN = "this API key is not known; make one with `lethe keys create`"

_NOBODYS = "0" * 64
"""Compared with where there is no digest: no secret is known that has it."""


@dataclass(frozen=True)
class Caller:
    """Who calls: the key's id, its name, its scopes, and the one model it is for, if any."""

    key_id: str
    name: str
    scopes: frozenset[str]
    model_id: str | None = None
    model: str | None = None

    def permit(self, model: str) -> None:
        """Raise `Forbidden` unless the key is for this model; whether it exists is not told."""
        if self.model not in (None, model):
            raise Forbidden(f"this key is for the model {self.model!r} alone")


def create(
    tx: Transaction,
    name: str,
    scopes: list[str],
    *,
    days: int | None = None,
    model: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key: its record, and its text, which is shown this once.

    model: the only one that it is for. Raises `Invalid` for a scope that does not exist, or for
    none; `NotFound` for a model that is not there.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise Invalid(f"unknown scope {', '.join(unknown) or '(none)'}; use {', '.join(SCOPES)}")
    _check_days(days)
    text = new_text()
    return register(tx, text, name, scopes, days=days, model=model), text


def _check_days(days: int | None) -> None:
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise Invalid(f"a key must be good for at least one day, and for {MOST_DAYS} at most")


def new_text(key_id: str | None = None) -> str:
    """The text of a key: its public id (a new one), a dot, and 256 random bits."""
    return f"{key_id or new_id('key')}.{secrets.token_urlsafe(32)}"


def register(
    tx: Transaction,
    text: str,
    name: str,
    scopes: list[str],
    *,
    days: int | None = None,
    model: str | None = None,
) -> ApiKey:
    """The record of a key text from `new_text`."""
    key_id, _, secret = text.partition(".")
    record = ApiKey(
        id=key_id,
        name=name,
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        model_id=registry.model_named(tx.session, model).id if model else None,
        created_at=tx.now,
        expires_at=tx.now + timedelta(days=days) if days else None,
    )
    tx.session.add(record)
    bound = {"model": record.model_id} if record.model_id else {}
    tx.record("key", record.id, "created", scopes=record.scopes, **bound)
    return record


def recognise(session: Session, text: str) -> Caller:
    """The caller that this key text stands for; raises `Unauthorized` without saying which part.

    The digests are compared in constant time, and an unknown id costs the same comparisons.
    """
    key_id, _, secret = text.partition(".")
    record = session.get(ApiKey, key_id)
    digest = _digest(secret)
    good = hmac.compare_digest(digest, record.digest if record else _NOBODYS)
    before = (record.previous_digest if record else None) or _NOBODYS
    was_good = hmac.compare_digest(digest, before)
    if record is None or not (good or was_good):
        raise Unauthorized(_UNKNOWN, record.id if record else None)
    return _caller(session, record, rotated_out=not good)


def holder(session: Session, key_id: str, began: datetime) -> Caller:
    """The caller of a session that was begun with this key then; raises `Unauthorized`, as above.

    One that was begun with a text that was rotated out ends when that text does.
    """
    record = session.get(ApiKey, key_id)
    if record is None:
        raise Unauthorized(_UNKNOWN)
    rotated_out = record.rotated_at is not None and began < record.rotated_at
    return _caller(session, record, rotated_out=rotated_out)


def _caller(session: Session, record: ApiKey, *, rotated_out: bool) -> Caller:
    if record.revoked_at is not None:
        raise Unauthorized("this API key was revoked; ask for a new one", record.id)
    now = database_now(session) if record.expires_at or rotated_out else None
    if now and record.expires_at is not None and record.expires_at <= now:
        raise Unauthorized("this API key has expired; ask for a new one", record.id)
    if now and rotated_out and (record.previous_until is None or record.previous_until <= now):
        raise Unauthorized("this API key was rotated; use its new text", record.id)
    return Caller(
        record.id,
        record.name,
        frozenset(record.scopes),
        record.model_id,
        model_of(session, record),
    )


def touch(db: Database, key_id: str, at: datetime) -> None:
    """Note that the key was used; callers do this at most once a minute a key."""
    with db.transaction() as tx:
        tx.session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=at))


def rotate(
    tx: Transaction, key_id: str, *, overlap: timedelta, days: int | None = None
) -> tuple[ApiKey, str]:
    """Give a key a new secret: its record, and its new text, which is shown this once.

    The old text stays good for `overlap`, and not at all for none; one that was rotated out
    before ends now. days: the key is good for so many from now on, else until when it was.
    Raises `NotFound`, `Invalid`, or `Conflict` for a key that is good no longer.
    """
    if not timedelta(0) <= overlap <= MOST_OVERLAP:
        raise Invalid(f"the old secret may stay good for 0 to {MOST_OVERLAP.days} days")
    _check_days(days)
    record = _locked(tx, key_id)
    if record.revoked_at is not None:
        raise Conflict(f"key {key_id} was revoked; make a new one")
    if days is not None:
        record.expires_at = tx.now + timedelta(days=days)
    elif record.expires_at is not None and record.expires_at <= tx.now:
        raise Conflict(f"key {key_id} has expired; say for how many days it is to be good again")
    text = new_text(key_id)
    record.previous_digest = record.digest if overlap else None
    record.previous_until = tx.now + overlap if overlap else None
    record.digest, record.rotated_at = _digest(text.partition(".")[2]), tx.now
    seconds = round(overlap.total_seconds())
    tx.record("key", record.id, "rotated", old_good_for_seconds=seconds)
    return record, text


def _locked(tx: Transaction, key_id: str) -> ApiKey:
    record = tx.session.get(ApiKey, key_id, with_for_update=True)
    if record is None:
        raise NotFound(f"there is no key {key_id}; `lethe keys list` shows them")
    return record


def revoke(tx: Transaction, key_id: str) -> ApiKey:
    """End a key at once; doing so twice changes nothing. Raises `NotFound`."""
    record = _locked(tx, key_id)
    if record.revoked_at is None:
        record.revoked_at = tx.now
        tx.record("key", record.id, "revoked")
    return record


def listed(session: Session) -> list[ApiKey]:
    """Every key, newest first, the revoked ones too."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc())))


def models_of(session: Session) -> dict[str | None, str]:
    """The names of models that keys are for, by their id."""
    query = select(Model.id, Model.name).join(ApiKey, ApiKey.model_id == Model.id)
    return dict(session.execute(query).all())


def model_of(session: Session, record: ApiKey) -> str | None:
    """The name of the one model that a key is for."""
    return session.get_one(Model, record.model_id).name if record.model_id else None


def _digest(secret: str) -> str:
    # The secret has 256 random bits: a fast digest is enough, nothing can be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
