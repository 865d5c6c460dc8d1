"""The secrets that sign callbacks, one for each API key: shown to admins, rotated."""

from __future__ import annotations

from fastapi import APIRouter

from core import webhooks
from service.deps import BackendDep, CanManageKeys, Reader, Tx
from service.openapi import problems
from service.paging import Id
from service.schemas import WebhookSecretView

router = APIRouter(prefix="/keys/{key_id}/webhook-secret", tags=["keys"], responses=problems(404))


@router.get("")
def get(_: CanManageKeys, session: Reader, backend: BackendDep, key_id: Id) -> WebhookSecretView:
    """The secret that signs the callbacks of requests posted with this key (Standard Webhooks)."""
    text = webhooks.secret_of(session, backend.identities, key_id)
    return WebhookSecretView(key_id=key_id, secret=text)


@router.post("/rotate")
def rotate(_: CanManageKeys, tx: Tx, backend: BackendDep, key_id: Id) -> WebhookSecretView:
    """Put a new secret in force. For a day callbacks carry the signatures of both."""
    text = webhooks.rotate(tx, backend.identities, key_id)
    return WebhookSecretView(key_id=key_id, secret=text)
