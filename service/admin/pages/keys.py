"""API keys: made, shown once, revoked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from sqlalchemy.orm import Session
from starlette.responses import Response

from core import keys
from core.db import database_now
from core.errors import Invalid
from core.records import ApiKey
from service.admin import contexts_records as contexts
from service.admin.deps import Administrator, Visitor
from service.admin.rendering import done, render
from service.deps import KeyringDep, Reader, Tx
from service.paging import Id
from service.schemas.common import Name

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
) -> Response:
    """Make a key. Its text is on this page and nowhere else."""
    if not scopes:
        raise Invalid("choose what the key may do: at least one scope")
    made = keys.create(tx, name, scopes, days=int(days) if days.strip() else None)
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
        keys=keys.listed(session), scopes=SCOPES, made=made, now=database_now(session)
    )
    return render(me, context, 201 if made else 200)
