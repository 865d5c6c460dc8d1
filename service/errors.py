"""Errors as the wire shows them: RFC 9457 problem+json, each with a stable `code`.

One table maps the classes that `core` raises to statuses; nothing else in the service does.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.responses import Response

from core import errors

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "2"


@dataclass(frozen=True)
class Kind:
    """How a class of errors is answered: the status, the stable code, the title."""

    status: int
    code: str
    title: str


TABLE: Mapping[type[Exception], Kind] = {
    errors.NotFound: Kind(404, "not_found", "Not found"),
    errors.Conflict: Kind(409, "conflict", "The state does not allow this"),
    errors.Invalid: Kind(422, "invalid", "The request is not valid"),
    errors.Unauthorized: Kind(401, "unauthorized", "A valid API key is needed"),
    errors.Forbidden: Kind(403, "forbidden", "The API key does not allow this"),
    errors.Unavailable: Kind(503, "unavailable", "Not available now"),
    errors.Gone: Kind(410, "gone", "It is no longer there"),
    errors.TooBusy: Kind(429, "too_busy", "Too much at once"),
    errors.TooMany: Kind(429, "too_many_requests", "Too many requests"),
    errors.TimedOut: Kind(504, "timed_out", "The time was over"),
    errors.LeaseLost: Kind(409, "lease_lost", "Another worker holds the job"),
    errors.CancelRequested: Kind(409, "cancel_requested", "The job is being cancelled"),
    errors.SettingsError: Kind(500, "settings", "The service is not set up rightly"),
    errors.LetheError: Kind(500, "failed", "Failed"),
    RequestValidationError: Kind(422, "invalid", "The request is not valid"),
    # The database does not answer, or is too busy to.
    exc.OperationalError: Kind(503, "database_unavailable", "Not available now"),
    exc.InterfaceError: Kind(503, "database_unavailable", "Not available now"),
    exc.TimeoutError: Kind(503, "database_unavailable", "Not available now"),
    Exception: Kind(500, "internal", "Internal error"),
}

_HTTP_CODES = {413: "body_too_large", 400: "bad_request"}


class Challenged(errors.Forbidden):
    """The key is good but lacks `scope`; carries what WWW-Authenticate says."""

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        self.scope = scope


def kind_of(error: Exception) -> Kind:
    """The row of the nearest class in the table."""
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def body_of(
    request_id: str, kind: Kind, detail: str, findings: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """A problem as JSON."""
    body: dict[str, Any] = {
        "type": f"urn:lethe:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "request_id": request_id,
    }
    if findings:
        body["errors"] = list(findings)
    return body


def problem(
    request_id: str,
    kind: Kind,
    detail: str,
    *,
    findings: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer of media type application/problem+json."""
    body = json.dumps(body_of(request_id, kind, detail, findings)).encode()
    return Response(body, kind.status, dict(headers or {}), media_type=MEDIA_TYPE)


def answer(error: Exception, request_id: str, path: str) -> Response:
    """The answer to any error. One that nobody named is logged, and tells the caller nothing.

    `path` is the one that was called: below /v2 the Open Inference Protocol has its own form, and
    so has OpenDSR.
    """
    response = _problem(error, request_id)
    if is_opendsr(path):
        return _opendsr(response)
    return _open_inference(response) if path == "/v2" or path.startswith("/v2/") else response


def _problem(error: Exception, request_id: str) -> Response:
    if isinstance(error, HTTPException):
        return _http(error, request_id)
    kind = kind_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, RequestValidationError):
        findings = [finding(each) for each in error.errors()]
        return problem(request_id, kind, summed_up(findings), findings=findings)
    if isinstance(error, errors.LetheError):
        detail = str(error)
    elif kind.status == 503:
        log.error("the database did not answer: %s", error)
        detail = "the database does not answer now; try again in a moment"
    else:
        log.error("unexpected error", exc_info=error)
        detail = f"something went wrong; the log says more under request id {request_id}"
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="lethe"'
    if isinstance(error, Challenged):
        headers["WWW-Authenticate"] = (
            f'Bearer realm="lethe", error="insufficient_scope", scope="{error.scope}"'
        )
    if kind.status in (429, 503):
        wait = str(error.seconds) if isinstance(error, errors.TooMany) else RETRY_SECONDS
        headers["Retry-After"] = wait
    findings = error.details if isinstance(error, errors.Invalid) else []
    return problem(request_id, kind, detail, findings=findings, headers=headers)


_OPENDSR = re.compile(
    r"(/v2)?/(requests|discovery)(/.*)?|/v1/(opengdpr_requests|discovery)(/.*)?|/opendsr/.*",
    re.DOTALL,  # a line feed may be in a path too
)


def is_opendsr(path: str) -> bool:
    """Is this path one of OpenDSR's?"""
    return _OPENDSR.fullmatch(path) is not None


def _opendsr(response: Response) -> Response:
    """The same as OpenDSR writes it (7.6): an error object, 400 for 422."""
    problem = json.loads(bytes(response.body))
    status = 400 if response.status_code == 422 else response.status_code
    found = problem.get("errors") or [{"where": "", "message": problem["detail"]}]
    details = [
        {
            "domain": "Validation" if status == 400 else problem["title"],
            "reason": problem["code"],
            "message": ": ".join(filter(None, (each["where"], each["message"]))),
        }
        for each in found
    ]
    body = {"error": {"code": status, "message": problem["detail"], "errors": details}}
    del response.headers["Content-Length"], response.headers["Content-Type"]
    headers = {**response.headers, "Cache-Control": "no-store", "Pragma": "no-cache"}
    return Response(json.dumps(body).encode(), status, headers, media_type="application/json")


def _open_inference(response: Response) -> Response:
    """The same as the Open Inference Protocol writes it: `{"error": ...}`, 400 for 422."""
    detail = json.loads(bytes(response.body))["detail"]
    del response.headers["Content-Length"], response.headers["Content-Type"]
    return Response(
        json.dumps({"error": detail}).encode(),
        400 if response.status_code == 422 else response.status_code,
        dict(response.headers),
        media_type="application/json",
    )


def _http(error: HTTPException, request_id: str) -> Response:
    """What the framework itself refuses: no such path, a method that is not there, ..."""
    status = HTTPStatus(error.status_code)
    code = _HTTP_CODES.get(status, status.name.lower())
    return problem(
        request_id,
        Kind(status, code, status.phrase),
        str(error.detail),
        headers=error.headers,
    )


def told(error: errors.LetheError, request_id: str) -> dict[str, Any]:
    """A named error as part of another answer."""
    findings = error.details if isinstance(error, errors.Invalid) else []
    return body_of(request_id, kind_of(error), str(error), findings)


def summed_up(findings: Sequence[Mapping[str, str]]) -> str:
    """The first of what was found, in one line."""
    shown = "; ".join(f"{each['where']}: {each['message']}" for each in findings[:3])
    return shown + (f" (and {len(findings) - 3} more)" if len(findings) > 3 else "")


def finding(raw: Mapping[str, Any]) -> dict[str, str]:
    """Where and what, without the value that came: it may name a person."""
    if raw["type"] == "json_invalid":
        return {
            "where": f"body, character {raw['loc'][-1]}",
            "message": f"this is not JSON: {raw['ctx']['error']}",
        }
    if raw["type"] == "model_attributes_type":
        return {
            "where": "body",
            "message": "send a JSON object, with Content-Type: application/json",
        }
    loc = [str(part) for part in raw["loc"]]
    where = ".".join(loc[1:]) if loc[0] == "body" and len(loc) > 1 else ".".join(loc)
    return {"where": where, "message": raw["msg"].removeprefix("Value error, ")}


async def _handle(request: Request, error: Exception) -> Response:
    return answer(error, request.state.request_id, request.scope["path"])


def install(app: FastAPI) -> None:
    """Let every error that has a row be answered; the rest reach the outermost middleware."""
    for cls in (*TABLE, HTTPException):
        if cls is not Exception:
            app.add_exception_handler(cls, _handle)
