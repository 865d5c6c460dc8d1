"""The public key by which anyone can verify a certificate offline."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.deps import BackendDep

router = APIRouter(prefix="/certificates", tags=["certificates"])


@router.get(
    "/key",
    response_class=Response,
    responses={200: {"content": {"application/x-pem-file": {"schema": {"type": "string"}}}}},
)
def key(backend: BackendDep) -> Response:
    """The Ed25519 public key, as PEM. It is public: no API key is needed."""
    return Response(backend.signer.public_pem, media_type="application/x-pem-file")
