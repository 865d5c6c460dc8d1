"""The first page: what needs somebody, and what goes on."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from core import overview
from service.admin import contexts, graphs
from service.admin.deps import Viewer
from service.admin.formats import duration
from service.admin.rendering import parts, render
from service.deps import BackendDep, Reader

router = APIRouter()


@router.get("/")
def show(me: Viewer, session: Reader, backend: BackendDep) -> Response:
    """The overview."""
    weeks = overview.weeks(session)
    sight = _sight(session, backend.settings.due_warning_days)
    context = contexts.Overview(
        sight=sight.sight,
        soon_days=sight.soon_days,
        weeks=weeks,
        erased=graphs.bars([(f"{w.begins:%d %b}", w.erased, f"{w.erased:,}") for w in weeks]),
        took=graphs.bars([(f"{w.begins:%d %b}", w.mean or 0.0, duration(w.mean)) for w in weeks]),
    )
    return render(me, context)


@router.get("/overview/live")
def live(me: Viewer, session: Reader, backend: BackendDep) -> Response:
    """All of it that changes by itself."""
    context = _sight(session, backend.settings.due_warning_days)
    return parts(me, context, context.template)


def _sight(session: Session, soon_days: float) -> contexts.OverviewPart:
    return contexts.OverviewPart(
        sight=overview.sight(session, soon_days),
        soon_days=int(soon_days) if soon_days.is_integer() else soon_days,
    )
