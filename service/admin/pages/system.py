"""What Lethe runs on."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from core import system
from core.db import database_now
from service.admin import contexts_records as contexts
from service.admin.deps import Viewer
from service.admin.rendering import render
from service.deps import BackendDep, Reader

router = APIRouter(prefix="/system")


@router.get("")
def show(me: Viewer, session: Reader, backend: BackendDep, request: Request) -> Response:
    """Processes, parts, versions, and settings in force without their secrets."""
    settings = backend.settings
    context = contexts.System(
        workers=system.workers(session),
        replicas=system.replicas(session),
        parts=[
            system.database(session),
            system.broker(settings),
            system.storage(session, settings),
        ],
        versions=system.versions(),
        settings=system.settings_in_force(settings),
        role=request.app.state.role,
        now=database_now(session),
    )
    return render(me, context)
