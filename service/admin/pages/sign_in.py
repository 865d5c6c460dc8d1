"""Signing in and out, the theme, and the files that every page needs."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from core.errors import Unauthorized
from service.admin import contexts, static_files
from service.admin.deps import SCOPES, THEMES, Anyone
from service.admin.rendering import render
from service.admin.sessions import LONGEST_SECONDS, SESSION, THEME, Sealer, set_cookie
from service.deps import KeyringDep
from service.limiting import address_of

log = logging.getLogger(__name__)

router = APIRouter()

YEAR = 365 * 86_400
Next = Annotated[str, Query(max_length=2000)]


@router.get("/sign-in")
async def ask(me: Anyone, next: Next = "/admin/") -> Response:  # noqa: A002  # its name in the address
    """Ask for a key."""
    return render(me, contexts.SignIn(then=inside(next), wrong=None))


@router.post("/sign-in")
async def sign_in(
    me: Anyone,
    request: Request,
    keyring: KeyringDep,
    key: Annotated[str, Form(max_length=500)] = "",
    then: Annotated[str, Form(max_length=2000)] = "/admin/",
) -> Response:
    """Begin a session with a key. The key itself is not kept."""
    try:
        caller = await keyring.caller(key.strip(), address_of(request.scope))
    except Unauthorized as error:
        return render(me, contexts.SignIn(then=inside(then), wrong=str(error)), 401)
    if caller.scopes.isdisjoint(SCOPES):
        wrong = f"this key has only {', '.join(sorted(caller.scopes))}; the dashboard needs "
        wrong += f"one of {', '.join(SCOPES)}"
        return render(me, contexts.SignIn(then=inside(then), wrong=wrong), 403)
    if caller.model is not None:
        wrong = f"this key is for the model {caller.model!r}; the dashboard shows every model"
        return render(me, contexts.SignIn(then=inside(then), wrong=wrong), 403)
    sealer: Sealer = request.app.state.sealer
    response = RedirectResponse(inside(then), 303)
    set_cookie(response, request.scope, SESSION, sealer.seal(caller.key_id), LONGEST_SECONDS)
    log.info("signed in to the dashboard", extra={"key": caller.key_id})
    return response


@router.post("/sign-out")
async def sign_out(_: Anyone) -> Response:
    """End the session in this browser."""
    response = RedirectResponse("/admin/sign-in", 303)
    response.delete_cookie(SESSION, path="/admin")
    return response


@router.post("/theme")
async def theme(
    request: Request,
    to: Annotated[str, Form(max_length=10)],
    then: Annotated[str, Form(max_length=2000)] = "/admin/",
) -> Response:
    """Light, dark, or as the system has it."""
    response = RedirectResponse(inside(then), 303)
    set_cookie(response, request.scope, THEME, to if to in THEMES else "auto", YEAR)
    return response


@router.get("/static/{version}/{name:path}")
async def file(version: str, name: str) -> Response:
    """One of the dashboard's own files."""
    return static_files.answer(version, name)


def inside(address: str) -> str:
    """The address if it is one of the dashboard's, else its first page."""
    inner = address.startswith("/admin/") and "\\" not in address
    return address if inner else "/admin/"
