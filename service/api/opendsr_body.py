"""Bodies by OpenDSR: what a controller sent, read and held against what is supported here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from core.errors import Invalid
from core.keys import Caller
from core.opendsr import FORMATS, IDENTITY_TYPES, Identity, NewOpenDsrRequest
from service import errors
from service.schemas.opendsr import NewOpenDsr, OpenDsrExtension


def read(raw: bytes, version: str, domain: str, caller: Caller) -> NewOpenDsrRequest:
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
