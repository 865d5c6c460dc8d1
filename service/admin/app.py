"""The dashboard's assembly."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.datastructures import State

from service.admin import refusals
from service.admin.gate import Gate
from service.admin.live import Easel
from service.admin.pages import (
    audit,
    bulk,
    datasets,
    erasure_requests,
    jobs,
    keys,
    legal_holds,
    models,
    overview,
    sign_in,
    status_links,
    system,
)

PAGES = (
    sign_in,
    overview,
    bulk,
    erasure_requests,
    status_links,
    jobs,
    models,
    datasets,
    audit,
    legal_holds,
    keys,
    system,
)


def create_admin(state: State) -> FastAPI:
    """The sub-app to mount under /admin. It shares `state` with the application around it."""
    admin = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    admin.state = state
    state.easel = Easel()
    for page in PAGES:
        admin.include_router(page.router)
    refusals.install(admin)
    admin.add_middleware(Gate)
    return admin
