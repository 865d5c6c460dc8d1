"""API keys: made, listed, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter

from core import keys
from service.deps import CanManageKeys, KeyringDep, Reader, Tx
from service.openapi import problems
from service.paging import Id
from service.schemas import KeyPage, KeyView, MadeKey, NewKey, Rotation

router = APIRouter(prefix="/keys", tags=["keys"], responses=problems(404, 409))


@router.get("")
def list_all(_: CanManageKeys, session: Reader) -> KeyPage:
    """Every key, newest first, the revoked ones too; never a secret."""
    models = keys.models_of(session)
    return KeyPage(
        items=[KeyView.of(key, models.get(key.model_id)) for key in keys.listed(session)]
    )


@router.post("", status_code=201)
def post(_: CanManageKeys, tx: Tx, body: NewKey) -> MadeKey:
    """Make a key. Its text is in this answer and nowhere else."""
    record, text = keys.create(tx, body.name, body.scopes, days=body.days, model=body.model)
    return MadeKey(**KeyView.fields(record, body.model), key=text)


@router.post("/{key_id}/rotate")
def rotate(_: CanManageKeys, tx: Tx, keyring: KeyringDep, key_id: Id, body: Rotation) -> MadeKey:
    """Give a key a new secret; the old one stays good for `overlap_seconds`, 0 ends it at once."""
    overlap = timedelta(seconds=body.overlap_seconds)
    record, text = keys.rotate(tx, key_id, overlap=overlap, days=body.days)
    keyring.forget(key_id)
    return MadeKey(**KeyView.fields(record, keys.model_of(tx.session, record)), key=text)


@router.delete("/{key_id}")
def delete(_: CanManageKeys, tx: Tx, keyring: KeyringDep, key_id: Id) -> KeyView:
    """Revoke a key; doing so twice changes nothing.

    This process takes it no longer, others within `LETHE_POLL_SECONDS`.
    """
    record = keys.revoke(tx, key_id)
    keyring.forget(key_id)
    return KeyView.of(record, keys.model_of(tx.session, record))
