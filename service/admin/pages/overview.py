"""The first page: what needs somebody, and what goes on."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from core import figures
from service.admin import contexts
from service.admin.deps import Viewer
from service.admin.rendering import render
from service.deps import Reader

router = APIRouter()


@router.get("/")
def show(me: Viewer, session: Reader) -> Response:
    """The overview."""
    return render(me, contexts.Overview(standing=figures.standing(session)))
