"""OpenDSR: what privacy teams' tools speak. Version 2.0, and the paths and headers of 1.0.

Answers are signed over their raw bytes. A body is read here, used, and given back in its receipt
(`encoded_request`); neither it nor an identity in it goes anywhere else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from core import opendsr, opendsr_state
from core.asked import Call
from core.audit import timestamp
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.opendsr import FORMATS, IDENTITY_TYPES, NewOpenDsrRequest
from core.opendsr_signer import OpenDsrSigner
from core.records import OpenDsrRequest
from service.api import opendsr_body
from service.deps import BackendDep, CanErase, LimiterDep, Reader, Tx
from service.paging import Id
from service.schemas.opendsr import (
    NewOpenDsr,
    OpenDsrCancellation,
    OpenDsrDiscovery,
    OpenDsrError,
    OpenDsrReceipt,
    OpenDsrStatus,
)

CERTIFICATE = "/opendsr/certificate.pem"

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenDsrError} for status in (400, 401, 403, 404, 409, 413, 429, 500, 503)
}


def _body() -> dict[str, Any]:
    """The body as the OpenAPI document shows it; FastAPI knows only bodies that it parses."""
    schema = NewOpenDsr.model_json_schema()
    [identity] = schema.pop("$defs").values()
    schema["properties"]["subject_identities"]["items"] = identity
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


router = APIRouter(tags=["OpenDSR"], responses=_ERRORS)


@router.get(
    CERTIFICATE,
    response_class=Response,
    responses={200: {"content": {"application/x-pem-file": {"schema": {"type": "string"}}}}},
)
def certificate(backend: BackendDep) -> Response:
    """The certificate whose key signs what is said by OpenDSR. No API key is needed."""
    return Response(_signer(backend).certificate_pem, media_type="application/x-pem-file")


def _signer(backend: Backend) -> OpenDsrSigner:
    if backend.opendsr is None:
        raise NotFound(
            "OpenDSR is not set up here: set LETHE_OPENDSR_URL, LETHE_OPENDSR_KEY and "
            "LETHE_OPENDSR_CERTIFICATE"
        )
    return backend.opendsr


def _signed(backend: Backend, version: str, content: dict[str, Any], status: int) -> Response:
    body = json.dumps(content).encode()
    headers = {"Cache-Control": "no-store", **_signer(backend).headers(body, version)}
    return Response(body, status, headers, media_type="application/json")


def _discovery(version: str) -> Callable[..., OpenDsrDiscovery]:
    def discovery(backend: BackendDep, request: Request) -> OpenDsrDiscovery:
        """What this processor supports, and where its certificate is. No API key is needed."""
        signer = _signer(backend)
        port = f":{request.url.port}" if request.url.port else ""
        url = signer.url or f"{request.url.scheme}://{signer.domain}{port}"
        return OpenDsrDiscovery.model_validate(
            {
                "api_version": version,
                "supported_identities": [
                    {"identity_type": kind, "identity_format": form}
                    for kind in IDENTITY_TYPES
                    for form in FORMATS
                ],
                "supported_subject_request_types": ["erasure"],
                "processor_certificate": url + CERTIFICATE,
            }
        )

    return discovery


def _post(version: str) -> Callable[..., Any]:
    async def post(
        caller: CanErase, backend: BackendDep, limiter: LimiterDep, request: Request
    ) -> Response:
        """Ask that a data subject be erased, from every data set that knows the subject.

        The same body again is answered as it was; another body with the same
        `subject_request_id` is 409.
        """
        raw = await request.body()
        new = await run_in_threadpool(
            opendsr_body.read, raw, version, _signer(backend).domain, caller
        )
        await limiter.erasures(caller, [new.identities[0].value])
        call = Call(request.state.request_id)
        return await run_in_threadpool(_taken_in, backend, raw, new, caller.key_id, call)

    return post


def _taken_in(
    backend: Backend, raw: bytes, new: NewOpenDsrRequest, key_id: str, call: Call
) -> Response:
    record = opendsr.take_in(backend, new, key_id, call)
    receipt = {
        "controller_id": record.key_id,
        "expected_completion_time": timestamp(record.due_at),
        "received_time": timestamp(record.received_at),
        "encoded_request": base64.b64encode(raw).decode(),
        "subject_request_id": record.subject_request_id,
    }
    return _signed(backend, new.version, receipt, 201)


def _get(version: str) -> Callable[..., Response]:
    def get(caller: CanErase, session: Reader, backend: BackendDep, number: Id) -> Response:
        """The status of a request that was posted with this key."""
        record = opendsr.get(session, caller.key_id, number)
        erasures = opendsr_state.erasures_of(session, record.id)
        content = {**opendsr_state.described(record, erasures), "api_version": version}
        return _signed(backend, version, content, 200)

    return get


def _delete(version: str) -> Callable[..., Response]:
    def delete(caller: CanErase, tx: Tx, backend: BackendDep, number: Id) -> Response:
        """Cancel a request that is still pending."""
        try:
            record = opendsr.cancel(tx, caller.key_id, number)
        except Conflict as error:  # by OpenDSR every error that it does not name is 400
            raise Invalid(str(error)) from None
        return _signed(backend, version, _cancelled(record, tx.now, version), 202)

    return delete


def _cancelled(record: OpenDsrRequest, now: Any, version: str) -> dict[str, Any]:
    return {
        "controller_id": record.key_id,
        "subject_request_id": record.subject_request_id,
        "received_time": timestamp(record.ended_at or now),
        "api_version": version,
    }


def _add(prefix: str, noun: str, version: str) -> None:
    """The calls of one version below `prefix`."""
    found, one = f"{prefix}/discovery", f"{prefix}/{noun}/{{number}}"
    for slash in ("", "/"):  # redirected posts lose their body with some clients
        shown = not slash
        router.add_api_route(found + slash, _discovery(version), include_in_schema=shown)
        router.add_api_route(
            f"{prefix}/{noun}{slash}",
            _post(version),
            methods=["POST"],
            status_code=201,
            response_model=OpenDsrReceipt,
            openapi_extra=_body(),
            include_in_schema=shown,
        )
    router.add_api_route(one, _get(version), response_model=OpenDsrStatus)
    router.add_api_route(
        one,
        _delete(version),
        methods=["DELETE"],
        status_code=202,
        response_model=OpenDsrCancellation,
    )


_add("", "requests", "2.0")
_add("/v2", "requests", "2.0")
_add("/v1", "opengdpr_requests", "1.0")
