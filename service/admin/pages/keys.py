"""API keys: made, shown once, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form
from sqlalchemy.orm import Session
from starlette.responses import Response

from core import keys, registry
from core.db import database_now
from core.errors import Invalid
from core.records import ApiKey
from service.admin import contexts_records as contexts
from service.admin.deps import Administrator, Visitor
from service.admin.rendering import done, render
from service.deps import KeyringDep, Reader, Tx
from service.paging import Id
from service.schemas.common import NO_NUL, Name

router = APIRouter(prefix="/keys")

SCOPES = {
    "erase": "Post erasure requests, follow them and withdraw them.",
    "predict": "Ask models for predictions.",
    "read": "Look at everything but keys and samples.",
    "review": "Decide: on jobs in review, refused and extended requests, going back a version.",
    "admin": "Make and end keys, set policies, look at samples.",
}
"""What a key of each scope may do."""


@router.get("")
def index(me: Administrator, session: Reader) -> Response:
    """Every key, newest first, the revoked ones too."""
    return _page(me, session)


@router.post("")
def make(
    me: Administrator,
    tx: Tx,
    name: Annotated[Name, Form()],
    scopes: Annotated[list[str] | None, Form()] = None,
    days: Annotated[str, Form(pattern=r"^\s*\d{0,5}\s*$")] = "",
    model: Annotated[str, Form(max_length=100, pattern=NO_NUL)] = "",
) -> Response:
    """Make a key. Its text is on this page and nowhere else."""
    if not scopes:
        raise Invalid("choose what the key may do: at least one scope")
    good_for = int(days) if days.strip() else None
    made = keys.create(tx, name, scopes, days=good_for, model=model or None)
    tx.session.flush()
    return _page(me, tx.session, made)


@router.post("/{key_id}/rotate")
def rotate(
    me: Administrator,
    tx: Tx,
    keyring: KeyringDep,
    key_id: Id,
    hours: Annotated[int, Form(ge=0, le=30 * 24)] = 24,
) -> Response:
    """Give a key a new secret, shown on this page; the old one stays good for so many hours."""
    keyring.forget(key_id)
    made = keys.rotate(tx, key_id, overlap=timedelta(hours=hours))
    tx.session.flush()
    return _page(me, tx.session, made)


@router.post("/{key_id}/revoke")
def revoke(_: Administrator, tx: Tx, keyring: KeyringDep, key_id: Id) -> Response:
    """End a key at once."""
    keyring.forget(key_id)
    record = keys.revoke(tx, key_id)
    return done("/admin/keys", f"The key {record.name} was revoked.")


def _page(me: Visitor, session: Session, made: tuple[ApiKey, str] | None = None) -> Response:
    context = contexts.KeyList(
        keys=keys.listed(session),
        models=keys.models_of(session),
        every_model=[model.name for model in registry.models(session)],
        scopes=SCOPES,
        made=made,
        now=database_now(session),
    )
    return render(me, context, 201 if made else 200)
