"""Headers, origins, proxies, and requests that two servers would cut differently."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings
from service.app import create_app
from tests.factories import other

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/jobs"),
        ("GET", "/jobs/job_x"),
        ("GET", "/nowhere"),
        ("PUT", "/jobs"),
        ("POST", "/erasure-requests"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/admin/sign-in"),
        ("GET", "/certificates/key"),
    ],
)
def test_every_answer_says_what_a_browser_may_do_with_it(
    api_quiet: TestClient, method: str, path: str
) -> None:
    headers = api_quiet.request(method, path).headers
    for name, value in ALWAYS.items():
        assert headers.get_list(name) == [value]
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    policy = headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy[0]
    assert "strict-transport-security" not in headers, "nobody said that TLS is in front"


def test_nothing_is_kept_but_what_says_so(api_quiet: TestClient) -> None:
    assert api_quiet.get("/keys").headers["cache-control"] == "no-store"
    page = api_quiet.get("/admin/sign-in").text
    style = re.search(r'href="(/admin/static/[^"]+\.css)"', page)
    assert style is not None
    assert "immutable" in api_quiet.get(style[1]).headers["cache-control"]


def test_the_documentation_needs_nothing_from_elsewhere(api_quiet: TestClient) -> None:
    answer = api_quiet.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.text
    policy = answer.headers["content-security-policy"]
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.findall(r"<script|<link|<img|@import|url\(|style=", page)
    for path, item in api_quiet.get("/openapi.json").json()["paths"].items():
        for method in item:
            shown = rf'<h3><span class="method">{method.upper()}</span> {re.escape(path)}</h3>'
            assert re.search(shown, page), f"{method} {path}"
    anchors = set(re.findall(r'<article id="([^"]+)"', page))
    assert anchors == set(re.findall(r'<a href="#([^"]+)"', page))


def test_tls_and_other_origins_when_they_are_set(api_settings: Settings) -> None:
    origin = "https://app.example.org"
    app = create_app(other(api_settings, tls=True, cors_origins=origin), "api")
    with TestClient(app, raise_server_exceptions=False) as client:
        mine = {"Origin": origin}
        answer = client.get("/jobs", headers=mine)
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        asked = mine | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, idempotency-key",
        }
        assert client.options("/erasure-requests", headers=asked).status_code == 200
        theirs = {"Origin": "https://evil.example"}
        assert "access-control-allow-origin" not in client.get("/jobs", headers=theirs).headers
        assert client.options("/erasure-requests", headers=asked | theirs).status_code == 400


def test_without_them_no_origin_is_let_in(api_quiet: TestClient) -> None:
    mine = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "GET"}
    for answer in (api_quiet.get("/jobs", headers=mine), api_quiet.options("/jobs", headers=mine)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [("10.0.0.7", "203.0.113.9"), (None, "10.0.0.7"), ("10.9.0.0/16", "10.0.0.7")],
)
def test_who_calls_is_said_by_trusted_proxies_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: str | None, seen: str
) -> None:
    """What `lethe serve` gives its server, tried on a call that comes from 10.0.0.7."""
    from lethe import server

    configured: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def stop(*_: Any, **options: Any) -> None:
        configured.update(options)
        raise Stop

    monkeypatch.setattr(server.uvicorn, "Config", stop)
    monkeypatch.setattr(server, "_prepare", lambda _: None)
    monkeypatch.setattr(server.logs, "configure", lambda *_, **__: None)
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for name in ("LETHE_SERVE_ROLE", "LETHE_SERVE_DRAINS_LONGER"):
        monkeypatch.setenv(name, "")
    if trusted:
        monkeypatch.setenv("LETHE_TRUSTED_PROXIES", trusted)
    with pytest.raises(Stop):
        server.run("127.0.0.1", 0, 1, "api")
    found: list[str] = []

    async def app(scope: Any, *_: Any) -> None:
        found.append(scope["client"][0])

    if configured["proxy_headers"]:
        app = ProxyHeadersMiddleware(app, configured["forwarded_allow_ips"])  # type: ignore[assignment]
    scope = {
        "type": "http",
        "client": ("10.0.0.7", 5),
        "scheme": "http",
        "headers": [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")],
    }
    asyncio.run(app(scope, None, None))  # type: ignore[arg-type]
    assert found == [seen]


def said(url: str, raw: bytes) -> bytes:
    """All that the server answers to these bytes until it closes the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(raw)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


HIDDEN = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-ID: hidden\r\n\r\n"
"""What an attacker would have the server take for a call of its own."""


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(HIDDEN),
        b"Content-Length: %d\r\nContent-Length: 0\r\n" % len(HIDDEN),
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: 0x0\r\n",
        b"Content-Length: 0, %d\r\n" % len(HIDDEN),
        b"Content-Length : 0\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
def test_a_body_whose_end_is_disputed_is_refused(api_server: str, headers: bytes) -> None:
    """A proxy in front might find another end: the rest would be the next caller's request."""
    raw = b"POST /erasure-requests HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n" + HIDDEN
    answer = said(api_server, raw)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:300]
    assert b"hidden" not in answer, "what came after it was taken for a call"


def test_one_that_is_not_disputed_is_taken(api_server: str) -> None:
    raw = (
        b"POST /erasure-requests HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    last = HIDDEN.replace(b"Host: a", b"Host: a\r\nConnection: close")
    answer = said(api_server, raw + last)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"x-request-id: hidden" in answer.lower()
