"""API keys: made, listed, revoked."""

from __future__ import annotations

from fastapi import APIRouter

from core import keys
from service.deps import CanAdmin, KeyringDep, Reader, Tx
from service.openapi import problems
from service.paging import Id
from service.schemas import KeyPage, KeyView, MadeKey, NewKey

router = APIRouter(prefix="/keys", tags=["keys"], responses=problems(404))


@router.get("")
def list_all(_: CanAdmin, session: Reader) -> KeyPage:
    """Every key, newest first, the revoked ones too; never a secret."""
    return KeyPage(items=[KeyView.of(key) for key in keys.listed(session)])


@router.post("", status_code=201)
def post(_: CanAdmin, tx: Tx, body: NewKey) -> MadeKey:
    """Make a key. Its text is in this answer and nowhere else."""
    record, text = keys.create(tx, body.name, body.scopes, days=body.days)
    return MadeKey(**KeyView.fields(record), key=text)


@router.delete("/{key_id}")
def delete(_: CanAdmin, tx: Tx, keyring: KeyringDep, key_id: Id) -> KeyView:
    """Revoke a key; doing so twice changes nothing.

    This process takes it no longer, others within `LETHE_POLL_SECONDS`.
    """
    keyring.forget(key_id)
    return KeyView.of(keys.revoke(tx, key_id))
