"""GET /docs: the API's documentation to click through, under a policy that lets only it run."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_CDN = "https://cdn.jsdelivr.net"


def install(app: FastAPI) -> None:
    """Serve the page; the application must have been made with `docs_url=None`."""
    page = get_swagger_ui_html(openapi_url="/openapi.json", title=app.title)
    body = bytes(page.body)
    headers = {"Content-Security-Policy": policy(body.decode())}

    async def docs(_: Request) -> Response:
        return HTMLResponse(body, headers=headers)

    app.add_route("/docs", docs, include_in_schema=False)


def policy(html: str) -> str:
    """The policy of a page whose own scripts are these, and whose others are Swagger UI's."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in inline)
    own = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {_CDN} {own}; style-src {_CDN} 'unsafe-inline'; "
        "img-src data: https://fastapi.tiangolo.com; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
