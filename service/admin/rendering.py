"""Templates and answers: `render` a page, `parts` of one, or be `done` and go elsewhere."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from service.admin import formats, formats_records, static_files
from service.admin.deps import Visitor
from service.admin.sessions import FLASH, FLASH_SECONDS, Flash, Sealer, set_cookie

FOLDER = Path(__file__).parent / "templates"


class Context(Protocol):
    """A frozen dataclass with the name of its template: see contexts.py."""

    template: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


@cache
def environment() -> Environment:
    """One for the process."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = static_files.address
    made.filters.update({**formats.FILTERS, **formats_records.FILTERS})
    return made


def fields(context: Context) -> dict[str, Any]:
    """What a template sees of its context."""
    return {each.name: getattr(context, each.name) for each in dataclasses.fields(context)}


def text(me: Visitor, context: Context, template: str | None = None) -> str:
    """The page, or another template of the same context, as HTML."""
    found = environment().get_template(template or context.template)
    return found.render(me=me, **fields(context))


def render(me: Visitor, context: Context, status: int = 200) -> Response:
    """A whole page. A message that was waiting for it is shown this once."""
    response = HTMLResponse(text(me, context), status)
    if me.flash is not None:
        response.delete_cookie(FLASH, path="/admin")
    return response


def parts(me: Visitor, context: Context, template: str) -> Response:
    """A part of a page alone, for htmx."""
    return HTMLResponse(text(me, context, template))


class Done(RedirectResponse):
    """After an action: see another page (303), where a message is shown."""

    def __init__(self, location: str, flash: Flash) -> None:
        super().__init__(location, 303)
        self._flash = flash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Seal the message, and answer."""
        sealer: Sealer = scope["app"].state.sealer
        set_cookie(self, scope, FLASH, sealer.seal_flash(self._flash), FLASH_SECONDS)
        await super().__call__(scope, receive, send)


def done(location: str, said: str) -> Response:
    """See `location` (303), where `said` is shown."""
    return Done(location, Flash("good", said))
