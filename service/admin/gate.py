"""The gate before every page: foreign posts are refused, a session is asked for, headers set."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Forbidden, Unauthorized
from core.keys import Caller
from service.admin import refusals
from service.admin.sessions import LONGEST_SECONDS, SESSION, Sealer, Session, set_cookie
from service.keyring import Keyring

SAFE = ("GET", "HEAD")
OPEN = ("/admin/sign-in", "/admin/theme", "/admin/static/")
"""What needs no session."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""The Content-Security-Policy of every page: own files only, nothing inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Gate:
    """The layer around all pages (plain ASGI: event streams pass through untouched).

    Puts `caller` into the call's state: None on pages that need no session. Whatever a page
    raises and nothing names is answered here, as a page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        assert scope["type"] == "http", "the dashboard has no other"
        request = Request(scope, receive)
        scope["state"]["caller"] = None
        renewed: Session | None = None
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._seal(scope, message, renewed)
            await send(message)

        try:
            _refuse_foreign(request)
            if not request.url.path.startswith(OPEN):
                session, scope["state"]["caller"] = await _signed_in(request)
                renewed = None if _polls(request) else session
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            raise
        except Exception as error:
            if started:
                raise
            await _answer(request, error)(scope, receive, sending)

    def _seal(self, scope: Scope, message: Message, session: Session | None) -> None:
        """Set the headers of every page, and prolong a session that was used."""
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
        if session is None or not session.due_for_renewal(time.time()):
            return
        if any(line.startswith(SESSION) for line in headers.getlist("set-cookie")):
            return  # signed out
        sealer: Sealer = scope["app"].state.sealer
        cookie = Response()
        sealed = sealer.seal(session.key_id, session.began)
        set_cookie(cookie, scope, SESSION, sealed, LONGEST_SECONDS)
        headers.append("set-cookie", cookie.headers["set-cookie"])


def _refuse_foreign(request: Request) -> None:
    """Refuse what another site makes a browser send, by the headers that no page can forge."""
    if request.method in SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site == "same-origin"
    else:  # an older browser, or plain HTTP on another host
        ours = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise Forbidden("this was sent from another site: open the dashboard and do it there")


async def _signed_in(request: Request) -> tuple[Session, Caller]:
    """The session and its caller, asked for anew: a revoked key ends it at once."""
    sealer: Sealer = request.app.state.sealer
    keyring: Keyring = request.app.state.keyring
    session = sealer.session(request.cookies.get(SESSION))
    if session is None:
        raise Unauthorized("sign in to see this page")
    began = datetime.fromtimestamp(session.began, UTC)
    request.scope["state"]["began"] = began  # for those who ask again while they stream
    return session, await keyring.holder(session.key_id, began)


def _polls(request: Request) -> bool:
    """Parts that refresh themselves keep nobody signed in."""
    return request.url.path.endswith("/live")


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, Unauthorized) and not request.url.path.startswith(OPEN):
        return to_sign_in(request)
    return refusals.answer(request, error)


def to_sign_in(request: Request) -> Response:
    """To the page that asks for a key, and from there back to this one."""
    wanted = request.url.path if request.method in SAFE else "/admin/"
    query = f"?{request.url.query}" if request.url.query and request.method in SAFE else ""
    location = f"/admin/sign-in?next={quote(wanted + query)}"
    if request.headers.get("hx-request"):  # htmx would put the sign-in page into a part
        return Response(status_code=401, headers={"HX-Redirect": "/admin/sign-in"})
    if _polls(request):
        return Response(status_code=401)
    return RedirectResponse(location, 303)
