"""The secrets that sign callbacks, and the signature (Standard Webhooks).

Every API key has its own, so that who receives the callbacks of one cannot forge those of
another. A secret is derived from LETHE_SECRET, the key's id and its generation: no database
dump holds one. A rotated secret signs beside its successor for a day.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from core.db import Transaction
from core.errors import NotFound
from core.identities import Identities
from core.records import ApiKey, WebhookSecret

OVERLAP = timedelta(days=1)
"""How long the secret before the last rotation signs too."""


def secret_of(session: Session, identities: Identities, key_id: str) -> str:
    """The secret, as receivers' libraries take it (`whsec_...`), that signs the callbacks of
    requests posted with this key; raises `NotFound`.
    """
    _check_key(session, key_id)
    found = session.get(WebhookSecret, key_id)
    return _text(identities, key_id, found.generation if found else 1)


def rotate(tx: Transaction, identities: Identities, key_id: str) -> str:
    """Put a new secret in force, and return it; the one before signs too for a day."""
    _check_key(tx.session, key_id)
    found = tx.session.get(WebhookSecret, key_id, with_for_update=True)
    if found is None:
        found = WebhookSecret(key_id=key_id, generation=1)
        tx.session.add(found)
    found.generation += 1
    found.rotated_at = tx.now
    tx.record("key", key_id, "webhook secret rotated", generation=found.generation)
    return _text(identities, key_id, found.generation)


def secrets_in_force(
    session: Session, identities: Identities, key_id: str | None, now: datetime
) -> list[str]:
    """The secrets that sign now, the newest first. key_id: None for requests without a key."""
    found = session.get(WebhookSecret, key_id) if key_id else None
    generations = [1]
    if found is not None:
        late = now - found.rotated_at > OVERLAP
        generations = [found.generation] if late else [found.generation, found.generation - 1]
    derived = [
        secret
        for generation in generations
        for secret in identities.webhook_secrets(key_id or "none", generation)
    ]
    return [_written(secret) for secret in derived]


def headers(secrets: list[str], message_id: str, payload: str, at: datetime) -> dict[str, str]:
    """What a callback carries: `webhook-id`, `webhook-timestamp`, `webhook-signature`."""
    signatures = [Webhook(secret).sign(message_id, at, payload) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "lethe",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _check_key(session: Session, key_id: str) -> None:
    if session.get(ApiKey, key_id) is None:
        raise NotFound(f"there is no key {key_id}; `lethe keys list` shows them")


def _text(identities: Identities, key_id: str, generation: int) -> str:
    return _written(identities.webhook_secret(key_id, generation))


def _written(derived: bytes) -> str:
    return "whsec_" + base64.b64encode(derived).decode()
