"""Rotation of the secret: every stored hash is hashed again under the new one.

No plain identifier is needed: under the new secret the hash of a person is the hash of the hash
before (core.identities). A dump of the database is then worth nothing to who knows the old secret
alone. The old ones must be kept, for a hash begins with the first; and salts of certificates that
were issued are derived from the secret of their time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from core._directories import sync_directory
from core.backend import Backend
from core.db import Base, Transaction
from core.errors import Conflict, SettingsError, Unavailable
from core.identities import Identities
from core.records import (
    Denied,
    ErasureRequest,
    Idempotency,
    LegalHold,
    Model,
    OpenDsrRequest,
    SecretState,
    StatusLink,
    Subject,
)
from core.settings import Settings, made_once

_CHUNK = 1000


@dataclass(frozen=True)
class _Hashes:
    """Columns of a table that hold hashes, and the label of each."""

    record: type[Base]
    labels: dict[str, str]


_STORED = (
    _Hashes(
        Subject,
        {
            "raw_hash": "subject",
            "md5_hash": "subject/md5",
            "sha1_hash": "subject/sha1",
            "sha256_hash": "subject/sha256",
        },
    ),
    _Hashes(ErasureRequest, {"subject_hash": "subject"}),
    _Hashes(LegalHold, {"subject_hash": "subject"}),
    _Hashes(Idempotency, {"value": "body", "body_digest": "body"}),
    _Hashes(OpenDsrRequest, {"body_digest": "body"}),
    _Hashes(StatusLink, {"link_hash": "status link", "code_hash": "status code"}),
    _Hashes(Denied, {"hash": ""}),  # by its kind: see _label
)


def check(session: Session, identities: Identities) -> None:
    """Raise `Unavailable` in a process that still has the secret before a rotation.

    It would find nobody, and say so.
    """
    if _stands_against(session, identities) is not None:
        raise Unavailable(
            "the secret was rotated since this process began: start it again with the new one"
        )


def require_current(backend: Backend) -> None:
    """Raise `SettingsError` when this is not the secret that the stored hashes are made with."""
    with backend.db.reading() as session:
        reason = _stands_against(session, backend.identities)
    if reason is not None:
        raise SettingsError(reason)


_STATE = select(SecretState.generation, SecretState.fingerprint)


def _stands_against(session: Session, identities: Identities) -> str | None:
    state = session.execute(_STATE).one_or_none()
    known = state.generation if state else 0
    if known < identities.generation:
        return "the secret is newer than the stored hashes: run `lethe secret rotate`"
    if known > identities.generation:
        return (
            "the secret was rotated: LETHE_SECRET is an older one, or LETHE_SECRETS_BEFORE lacks "
            "some. Where the rotation was cut off, run `lethe secret rotate` again"
        )
    if state is not None and state.fingerprint != identities.fingerprint(known):
        return "LETHE_SECRET is not the secret that the stored hashes are made with"
    return None


def rotate(tx: Transaction, identities: Identities) -> int:
    """Bring every stored hash up to the secret in force; returns how many hashes that were.

    All or nothing, in this transaction; nobody is taken in meanwhile. Raises `Conflict` when
    they are made with it already, or with another.
    """
    tx.session.execute(select(Model.id).order_by(Model.id).with_for_update()).all()
    state = tx.session.get(SecretState, 1, with_for_update=True)
    known = state.generation if state else 0
    if known >= identities.generation:
        raise Conflict("the stored hashes are made with this secret already, or with a newer one")
    if state is not None and state.fingerprint != identities.fingerprint(known):
        raise Conflict("LETHE_SECRETS_BEFORE does not end with the secret that was in force")
    hashes = 0
    for generation in range(known + 1, identities.generation + 1):
        hashes = sum(_rehash(tx.session, each, identities, generation) for each in _STORED)
    now = tx.now
    if state is None:
        state = SecretState(id=1)
        tx.session.add(state)
    state.generation, state.rotated_at = identities.generation, now
    state.fingerprint = identities.fingerprint(identities.generation)
    tx.record("secret", "secret", "rotated", generation=state.generation, hashes=hashes)
    return hashes


def _rehash(session: Session, stored: _Hashes, identities: Identities, generation: int) -> int:
    table = stored.record.__table__
    assert isinstance(table, Table)
    keys = [column.name for column in table.primary_key]
    shown = list(dict.fromkeys([*keys, *stored.labels, *(["kind"] if "kind" in table.c else [])]))
    change = (
        update(table)
        .where(*(table.c[key] == bindparam(f"old_{key}") for key in keys))
        .values({name: bindparam(f"new_{name}") for name in stored.labels})
    )
    hashes = 0
    for rows in _chunks(session, [table.c[name] for name in shown], shown):
        changes = []
        for row in rows:
            new = {
                f"new_{name}": row[name]
                and identities.again(label or row["kind"], row[name], generation)
                for name, label in stored.labels.items()
            }
            hashes += sum(value is not None for value in new.values())
            changes.append({f"old_{key}": row[key] for key in keys} | new)
        session.connection().execute(change, changes)
    return hashes


def _chunks(
    session: Session, columns: Sequence[Any], names: Sequence[str]
) -> Iterator[list[dict[str, Any]]]:
    """All rows first, then by the chunk: what is read must not be what was changed just now."""
    rows = session.execute(select(*columns)).all()
    for start in range(0, len(rows), _CHUNK):
        yield [dict(zip(names, row, strict=True)) for row in rows[start : start + _CHUNK]]


def next_secret(settings: Settings) -> bytes:
    """The embedded mode's secret to come, kept beside the file until the rotation is done."""
    return made_once(settings.home / "secret.next", lambda: secrets.token_urlsafe(32).encode())


def put_in_force(settings: Settings, secret: bytes) -> None:
    """Append it to the embedded mode's file, whole or not at all."""
    path, draft = settings.home / "secret", settings.home / ".secret.new"
    known = path.read_bytes().split(b"\0")
    if secret not in known:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"\0".join([*known, secret]))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    (settings.home / "secret.next").unlink(missing_ok=True)
    sync_directory(settings.home)
