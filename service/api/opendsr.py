"""OpenDSR: what privacy teams' tools speak. Version 2.0, and the paths and headers of 1.0.

Answers are signed over their raw bytes. A body is read here, used, and given back in its receipt
(`encoded_request`); neither it nor an identity in it goes anywhere else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from core import opendsr, opendsr_state
from core.asked import Call
from core.audit import timestamp
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from core.keys import Caller
from core.opendsr import FORMATS, IDENTITY_TYPES, Identity, NewOpenDsrRequest
from core.opendsr_signer import OpenDsrSigner
from core.records import OpenDsrRequest
from service import errors
from service.deps import BackendDep, CanErase, LimiterDep, Reader, Tx
from service.paging import Id
from service.schemas.opendsr import (
    NewOpenDsr,
    OpenDsrCancellation,
    OpenDsrDiscovery,
    OpenDsrError,
    OpenDsrExtension,
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
        new = await run_in_threadpool(_read, raw, version, _signer(backend).domain, caller)
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


def _read(raw: bytes, version: str, domain: str, caller: Caller) -> NewOpenDsrRequest:
    """What the body asks for; raises `Invalid`, without a value that came.

    A key for one model erases from that model's data set, and `Forbidden` is raised for others.
    """
    with _findings():
        body = NewOpenDsr.model_validate_json(raw)
    major = version.partition(".")[0]
    if major == "2" and body.regulation is None:
        raise _wrong("regulation", "Field required")
    if body.api_version is not None and body.api_version.partition(".")[0] != major:
        raise _wrong("api_version", f"this is version {version} of the API")
    if body.subject_request_type != "erasure":
        raise _wrong("subject_request_type", "only erasure is supported: see the discovery")
    for i, identity in enumerate(body.subject_identities):
        _check_identity(
            i, identity.identity_type, identity.identity_value, identity.identity_format
        )
    with _findings("extensions", domain):
        ours = OpenDsrExtension.model_validate((body.extensions or {}).get(domain, {}))
    for model in ours.models:
        caller.permit(model)
    only = (caller.model,) if caller.model else ()
    return NewOpenDsrRequest(
        subject_request_id=body.subject_request_id,
        identities=tuple(
            Identity(each.identity_value, each.identity_format) for each in body.subject_identities
        ),
        submitted_at=body.submitted_time,
        version=version,
        domain=domain,
        body=_canonical(raw),
        regulation=body.regulation,
        callback_urls=tuple(body.status_callback_urls),
        models=tuple(ours.models) or only,
    )


def _check_identity(i: int, kind: str, value: str, form: str) -> None:
    where = f"subject_identities.{i}"
    if kind not in IDENTITY_TYPES:
        raise _wrong(f"{where}.identity_type", f"unknown; use {', '.join(IDENTITY_TYPES)}")
    if form not in FORMATS:
        raise _wrong(f"{where}.identity_format", f"unknown; use {', '.join(FORMATS)}")
    digits = FORMATS[form]
    if digits and not (len(value) == digits and set(value.lower()) <= set("0123456789abcdef")):
        raise _wrong(f"{where}.identity_value", f"{form} is {digits} hexadecimal digits")


def _wrong(where: str, message: str) -> Invalid:
    return Invalid(f"{where}: {message}", [{"where": where, "message": message}])


@contextmanager
def _findings(*below: str) -> Iterator[None]:
    """What pydantic found, as `Invalid`: where and what, without the value that came."""
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        if found[0]["type"] == "json_invalid":
            raise _wrong("body", f"this is not JSON: {found[0]['ctx']['error']}") from None
        told = [errors.finding({**each, "loc": ("body", *below, *each["loc"])}) for each in found]
        raise Invalid(errors.summed_up(told), told) from None


def _canonical(raw: bytes) -> bytes:
    """The same for bodies that differ in spaces or in the order of their keys alone."""
    return json.dumps(json.loads(raw), sort_keys=True).encode()


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
