"""Errors as people see them: a page, or for htmx the words alone, which become a toast."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from service import errors
from service.admin import contexts
from service.admin.deps import visitor
from service.admin.rendering import render

_PASSED_ON = ("Retry-After", "Allow")


def answer(request: Request, error: Exception) -> Response:
    """The same statuses and words as the API's, by the same table."""
    problem = errors.answer(error, request.state.request_id, request.scope["path"])
    told = json.loads(bytes(problem.body))
    if request.headers.get("hx-request"):
        response: Response = PlainTextResponse(_sentence(told["detail"]), problem.status_code)
    else:
        page = contexts.Refusal(
            status=problem.status_code,
            title=told["title"],
            detail=_sentence(told["detail"]),
            request_id=told["request_id"],
        )
        response = render(visitor(request), page, problem.status_code)
    for name in _PASSED_ON:
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response


def _sentence(detail: str) -> str:
    said = detail[:1].upper() + detail[1:]
    return said if said.endswith((".", "?", "!")) else f"{said}."


async def _handle(request: Request, error: Exception) -> Response:
    return answer(request, error)


def install(app: FastAPI) -> None:
    """Let every error that has a row be answered within the pages; the rest reach the gate."""
    for cls in (*errors.TABLE, HTTPException):
        if cls is not Exception:
            app.add_exception_handler(cls, _handle)
