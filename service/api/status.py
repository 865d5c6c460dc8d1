"""A data subject's own way to a request: a link and a code, made here and opened here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from core import requests, status_links
from core.backend import Backend
from core.errors import NotFound, Unauthorized
from core.records import StatusLink
from service.deps import BackendDep, CanWithdraw, Reader, Tx
from service.openapi import problems
from service.pages import certificate, status
from service.paging import Id
from service.schemas import MadeStatusLink
from service.schemas.common import NO_NUL

router = APIRouter(tags=["data subjects"])

Secret = Annotated[str, Path(max_length=100, pattern=NO_NUL)]

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    404: {
        "content": {"text/html": {"schema": {"type": "string"}}},
        "description": "The link is not known, or a newer one was made.",
    },
}


@router.post("/erasure-requests/{request_id}/status-link", status_code=201, responses=problems(404))
def make(
    caller: CanWithdraw, tx: Tx, backend: BackendDep, request: Request, request_id: Id
) -> MadeStatusLink:
    """A link by which the data subject sees where the request stands, and its code.

    Both are in this answer and nowhere else: send them by two ways. A link that was made before
    opens nothing more.
    """
    requests.get(tx.session, request_id, only=caller.model_id)
    made = status_links.make(tx, backend.identities, request_id)
    return MadeStatusLink(url=status.address(request, made.secret), code=made.code)


@router.get("/status/{secret}", response_class=Response, responses={**_PAGE, 422: problems()[422]})
def show(request: Request, session: Reader, backend: BackendDep, secret: Secret) -> Response:
    """The data subject's page: asks for the code, then says where the request stands."""
    try:
        link = status_links.find(session, backend.identities, secret)
    except NotFound:
        return _page(None, 404)
    here = f"/status/{secret}"
    if not _opened(request, backend, link):
        return _page(status.CodePage(_left(link), here))
    return _page(status.page_of(status_links.standing(session, link), here))


@router.post(
    "/status/{secret}",
    status_code=303,
    response_class=Response,
    responses={
        404: _PAGE[404],
        422: problems()[422],
        303: {"description": "The code was right."},
        403: {**_PAGE[200], "description": "The code was wrong, or the link is shut."},
    },
)
def unlock(
    request: Request,
    tx: Tx,
    backend: BackendDep,
    secret: Secret,
    code: Annotated[str, Form(max_length=100, pattern=NO_NUL)] = "",
) -> Response:
    """Try the code. After ten wrong ones in a row the link is shut."""
    try:
        tried = status_links.unlock(tx, backend.identities, secret, code)
    except NotFound:
        return _page(None, 404)
    here = f"/status/{secret}"
    if not tried.good:
        return _page(status.CodePage(tried.left, here), 403)
    response = RedirectResponse(here, 303, status.HEADERS)
    response.set_cookie(
        status.COOKIE,
        _sealer(backend).seal(backend.identities.status_link(secret)),
        max_age=status.OPEN_SECONDS,
        path=here,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # the link is followed from a letter or a mail
    )
    return response


@router.get(
    "/status/{secret}/certificate",
    response_class=Response,
    responses={
        **problems(401, 404, 409),
        200: {"content": {"application/json": {"schema": {"type": "object"}}}},
    },
)
def document(request: Request, session: Reader, backend: BackendDep, secret: Secret) -> Response:
    """The signed certificate, byte for byte as issued, once the code was given."""
    text = _certificate(request, session, backend, secret)
    return Response(text, headers=status.HEADERS, media_type="application/json")


@router.get(
    "/status/{secret}/certificate/page",
    response_class=Response,
    responses={
        **problems(401, 404, 409),
        200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    },
)
def read(request: Request, session: Reader, backend: BackendDep, secret: Secret) -> Response:
    """The certificate as a page to read or print, once the code was given."""
    text = _certificate(request, session, backend, secret)
    shown = certificate.render(text, backend.signer.public_pem)
    headers = status.HEADERS | {"Content-Security-Policy": certificate.POLICY}
    return HTMLResponse(shown, headers=headers)


def _certificate(request: Request, session: Session, backend: Backend, secret: str) -> str:
    link = status_links.find(session, backend.identities, secret)
    if not _opened(request, backend, link):
        raise Unauthorized("enter the code on the link's page first")
    return requests.certificate_of(session, link.request_id)


def _opened(request: Request, backend: Backend, link: StatusLink) -> bool:
    """Did this browser give the right code of this very link a while ago?"""
    return _sealer(backend).opens(request.cookies.get(status.COOKIE), link.link_hash)


def _sealer(backend: Backend) -> status.Sealer:
    return status.Sealer(backend.settings.secret_bytes)


def _left(link: StatusLink) -> int | None:
    """0 for a link that was shut; otherwise nothing is said before a code is tried."""
    return 0 if link.failed >= status_links.MOST_WRONG else None


def _page(page: status.StatusPage | status.CodePage | None, code: int = 200) -> Response:
    return HTMLResponse(status.render(page), code, status.HEADERS)
