"""Legal holds: listed, placed, released."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response

from core import holds, registry
from service.admin import contexts_records as contexts
from service.admin.deps import Reviewer, Viewer
from service.admin.listing import Filter, Listing
from service.admin.rendering import done, render
from service.deps import BackendDep, Reader, Tx
from service.paging import Cursor, Id
from service.schemas.common import NO_NUL, Name, Reason

router = APIRouter(prefix="/legal-holds")

PAGE = 50
IN_FORCE = [("", "All"), ("yes", "In force")]


@router.get("")
def index(me: Viewer, session: Reader, cursor: Cursor = None, only: str = "") -> Response:
    """Holds, newest first, the released ones too."""
    in_force = only == "yes"
    after = cursor or None
    found = holds.listed(session, in_force=in_force, after=after, limit=PAGE + 1)
    shown = found[:PAGE]
    listing = Listing(
        path="/admin/legal-holds",
        filters=[Filter("only", "State", IN_FORCE, "yes" if in_force else "")],
        following=shown[-1][0].id if len(found) > PAGE else None,
        first=after is None,
    )
    context = contexts.LegalHolds(
        holds=shown,
        listing=listing,
        models=[model.name for model in registry.models(session)],
    )
    return render(me, context)


@router.post("")
def place(
    me: Reviewer,
    backend: BackendDep,
    model: Annotated[Name, Form()],
    reason: Annotated[Reason, Form()],
    subject: Annotated[str, Form(max_length=1000, pattern=NO_NUL)] = "",
    samples: Annotated[str, Form(max_length=100_000, pattern=NO_NUL)] = "",
) -> Response:
    """Keep what is named from being erased. Samples are named one a line."""
    assert me.caller is not None, "a reviewer is signed in"
    named = tuple(line.strip() for line in samples.splitlines() if line.strip())
    new = holds.NewHold(model, reason, subject_id=subject or None, sample_ids=named)
    hold = holds.place(backend, new, key_id=me.caller.key_id)
    said = f"The hold is in force: {hold.sample_count:,} samples are kept."
    return done("/admin/legal-holds", said)


@router.post("/{hold_id}/release")
def release(_: Reviewer, tx: Tx, hold_id: Id, reason: Annotated[Reason, Form()]) -> Response:
    """End a hold."""
    holds.release(tx, hold_id, reason)
    return done("/admin/legal-holds", "The hold was released: requests are taken in again.")
