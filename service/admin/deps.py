"""Who looks at a page, as parameter types: the permission, and what the base template needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from core.keys import Caller
from service.admin.sessions import FLASH, THEME, Flash, Sealer
from service.deps import Needs

SCOPES = ("read", "review", "admin")
"""A key with one of these may sign in."""
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True)
class Visitor:
    """Who is signed in, and with what; `me` in templates. path: of this page, with its query."""

    caller: Caller | None
    path: str
    query: str
    theme: str
    flash: Flash | None

    def may(self, *scopes: str) -> bool:
        """Has the key one of these scopes?"""
        return self.caller is not None and not self.caller.scopes.isdisjoint(scopes)

    @property
    def here(self) -> str:
        """The address of this page."""
        return f"{self.path}?{self.query}" if self.query else self.path


def visitor(request: Request) -> Visitor:
    """Whoever calls, signed in or not."""
    sealer: Sealer = request.app.state.sealer
    theme = request.cookies.get(THEME, "auto")
    return Visitor(
        caller=cast("Caller | None", request.scope["state"].get("caller")),
        path=request.scope["path"],
        query=request.url.query,
        theme=theme if theme in THEMES else "auto",
        flash=sealer.flash(request.cookies.get(FLASH)),
    )


async def _visitor(request: Request) -> Visitor:
    return visitor(request)


Anyone = Annotated[Visitor, Depends(_visitor)]
"""For the few pages that need no session."""


class May(Needs):
    """A dependency that gives the visitor, if the session's key has one of these scopes."""

    def __init__(self, scopes: Collection[str]) -> None:
        super().__init__(*scopes)

    async def __call__(self, me: Anyone) -> Visitor:  # type: ignore[override]
        """The visitor; raises `Forbidden` naming the scope that is missing."""
        assert me.caller is not None, "the gate lets nobody pass without a session"
        self.check(me.caller)
        return me


Viewer = Annotated[Visitor, Depends(May(SCOPES))]
Reviewer = Annotated[Visitor, Depends(May(["review"]))]
Caretaker = Annotated[Visitor, Depends(May(["review", "admin"]))]
"""Who may have callbacks sent again."""
Administrator = Annotated[Visitor, Depends(May(["admin"]))]
Predictor = Annotated[Visitor, Depends(May(["predict"]))]


async def _fields(request: Request) -> dict[str, str]:
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


Fields = Annotated[dict[str, str], Depends(_fields)]
"""A form whose fields are known only when it is read."""
