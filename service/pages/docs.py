"""GET /docs: every route, what it takes and answers, as one page that needs nothing from elsewhere.

FastAPI's own page loads its program from another company's servers, which a closed network cannot
reach and our Content-Security-Policy forbids. This one is written from the same OpenAPI document.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from service.pages.examples import Examples, answer_of, body_of, curl

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "certificate.css").read_text() + (_FOLDER / "docs.css").read_text()

POLICY = (
    f"default-src 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own style sheet, and nothing else."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a route."""

    name: str
    where: str
    required: bool
    text: str


@dataclass(frozen=True)
class Operation:
    """One route, as the template shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    text: list[str]
    secured: bool
    parameters: list[Parameter]
    call: str
    status: str
    media_type: str
    answer: str | None
    others: list[str]


@dataclass(frozen=True)
class ReferencePage:
    """All that the template gets: routes by what they are about."""

    title: str
    version: str
    groups: dict[str, list[Operation]]


def page_of(document: dict[str, Any]) -> ReferencePage:
    """What the page shows of an OpenAPI document."""
    examples = Examples(document)
    groups: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method, path, operation, examples))
    info = document["info"]
    return ReferencePage(info["title"], info["version"], groups)


def render(document: dict[str, Any]) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("docs.html")
    return template.render(page=page_of(document), style=_STYLE)


def install(app: FastAPI) -> None:
    """Put the page at /docs. It is written at the first call."""
    written: list[str] = []

    def show(_: Request) -> Response:
        if not written:
            written.append(render(app.openapi()))
        return HTMLResponse(written[0], headers={"Content-Security-Policy": POLICY})

    app.router.routes.append(Route("/docs", show, methods=["GET"], include_in_schema=False))


def _operation(method: str, path: str, raw: dict[str, Any], examples: Examples) -> Operation:
    status, media_type, schema = answer_of(raw)
    answer = None
    if media_type == "application/json" and schema is not None:
        answer = json.dumps(examples.of(schema), indent=2, ensure_ascii=False)
    text = raw.get("description", raw["summary"]).replace("`", "").split("\n\n")
    body = body_of(raw)
    return Operation(
        anchor=raw["operationId"],
        method=method.upper(),
        path=path,
        summary=" ".join(text[0].split()),
        text=[" ".join(part.split()) for part in text[1:]],
        secured=bool(raw.get("security")),
        parameters=[
            Parameter(
                each["name"],
                each["in"],
                each.get("required", False),
                " ".join(each.get("description", "").replace("`", "").split()),
            )
            for each in raw.get("parameters", [])
        ],
        call=curl(method, path, raw, examples, body),
        status=status,
        media_type=media_type,
        answer=answer,
        others=sorted(each for each in raw["responses"] if each != status),
    )
