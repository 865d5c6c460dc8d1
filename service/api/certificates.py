"""Certificates for people, and the public key by which anyone can verify one offline."""

from __future__ import annotations

from fastapi import APIRouter, Response

from core import requests
from service.deps import BackendDep, CanRead, Reader
from service.openapi import problems
from service.pages import certificate
from service.paging import Id

router = APIRouter(prefix="/certificates", tags=["certificates"])


@router.get(
    "/key",
    response_class=Response,
    responses={200: {"content": {"application/x-pem-file": {"schema": {"type": "string"}}}}},
)
def key(backend: BackendDep) -> Response:
    """The Ed25519 public key, as PEM. It is public: no API key is needed."""
    return Response(backend.signer.public_pem, media_type="application/x-pem-file")


@router.get(
    "/{request_id}/page",
    response_class=Response,
    responses={
        **problems(404, 409),
        200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    },
)
def page(caller: CanRead, session: Reader, backend: BackendDep, request_id: Id) -> Response:
    """A certificate as a page for people, to read or print; 409 until the request is completed."""
    text = requests.certificate_of(session, request_id, only=caller.model_id)
    shown = certificate.render(text, backend.signer.public_pem)
    headers = {"Content-Security-Policy": certificate.POLICY}
    return Response(shown, headers=headers, media_type="text/html")
