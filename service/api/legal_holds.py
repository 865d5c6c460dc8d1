"""Legal holds: what may not be erased, placed and released by reviewers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from core import holds
from core.records import Model
from service.deps import BackendDep, CanRead, CanReview, Reader, Tx
from service.openapi import problems
from service.paging import Cursor, Id, Limit
from service.schemas import Because, LegalHoldPage, LegalHoldView, NewLegalHold

router = APIRouter(prefix="/legal-holds", tags=["legal holds"], responses=problems(404, 409))


@router.post("", status_code=201)
def post(caller: CanReview, backend: BackendDep, body: NewLegalHold) -> LegalHoldView:
    """Keep a subject's samples, or those named, from being erased until the hold is released.

    Open requests that would erase any of them are refused now (`refusal`: `legal_hold`), and so
    are those to come. 409 when one of them can no longer be stopped.
    """
    caller.permit(body.model)
    new = holds.NewHold(
        model=body.model,
        reason=body.reason,
        subject_id=body.subject_id,
        sample_ids=tuple(body.sample_ids or ()),
    )
    return LegalHoldView.of(holds.place(backend, new, key_id=caller.key_id), body.model)


@router.get("")
def list_all(
    caller: CanRead,
    session: Reader,
    in_force: Annotated[bool, Query(description="Only those that are not released.")] = False,
    limit: Limit = 50,
    after: Cursor = None,
) -> LegalHoldPage:
    """Legal holds, newest first, the released ones too."""
    found = holds.listed(
        session, in_force=in_force, only=caller.model_id, after=after, limit=limit + 1
    )
    shown = found[:limit]
    following = shown[-1][0].id if len(found) > limit else None
    return LegalHoldPage(items=[LegalHoldView.of(*each) for each in shown], next=following)


@router.post("/{hold_id}/release")
def release(caller: CanReview, tx: Tx, hold_id: Id, body: Because) -> LegalHoldView:
    """End a hold. What was refused because of it is not taken up again: ask anew."""
    hold = holds.release(tx, hold_id, body.reason, only=caller.model_id)
    return LegalHoldView.of(hold, tx.session.get_one(Model, hold.model_id).name)
