"""Making a data subject's link to the status of a request."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from core import status_links
from service.admin import contexts_records as contexts
from service.admin.deps import Reviewer
from service.admin.rendering import render
from service.deps import BackendDep, Tx
from service.pages import status
from service.paging import Id

router = APIRouter(prefix="/erasure-requests")


@router.post("/{request_id}/status-link")
def make(me: Reviewer, tx: Tx, backend: BackendDep, request: Request, request_id: Id) -> Response:
    """A new link and its code, shown this once; one that was made before opens nothing more."""
    made = status_links.make(tx, backend.identities, request_id)
    context = contexts.StatusLink(
        request_id=request_id, address=status.address(request, made.secret), code=made.code
    )
    return render(me, context, 201)
