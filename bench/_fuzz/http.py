"""Whole calls to the API: paths, headers, cursors, bodies. No answer may be a fault of ours."""

from __future__ import annotations

import json
import random
from pathlib import Path

from fastapi.testclient import TestClient
from pydantic import SecretStr

from bench._asgi import answered
from bench._fuzz.mutate import BYTES, Mutator, counted, json_value, tokens
from bench._fuzz.running import Parser, Take
from tests import factories

HEADERS = tokens(
    b"\nIdempotency-Key: ",
    b"\nAccept: text/html;q=",
    b'\nIf-None-Match: W/"1"',
    b"\nCookie: a=b",
    b"\nX-Request-ID: ",
    b"\ntraceparent: 00-",
    b"\nContent-Type: text/plain",
    b"\x00",
    b"%00",
    b"\nTransfer-Encoding: chunked",
    b"?cursor=",
    b"&limit=",
    b"%ff",
    b"..",
    b"//",
    b"\xff",
    b"\nRange: bytes=0-",
    b"\nAuthorization: Bearer key_1.x",
    b"\nContent-Length: -1",
    b'\nForwarded: for="_x"',
)


def json_body(rng: random.Random, data: bytes) -> bytes:
    """The body's JSON is other."""
    head, blank, body = data.partition(b"\n\n")
    return head + blank + json_value(rng, body)


def calls() -> list[bytes]:
    """Calls as they are meant."""
    one = {"model": "digits", "subject_id": "subject-1", "external_id": "t", "regulation": "gdpr"}
    named = {"model": "digits", "sample_ids": ["train/00002"], "strategy": "retrain"}
    dsr = {
        "regulation": "gdpr",
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "erasure",
        "submitted_time": "2026-10-02T15:00:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_format": "raw", "identity_value": "subject-3"}
        ],
        "api_version": "2.0",
        "status_callback_urls": ["https://8.8.8.8/opendsr"],
        "extensions": {"lethe": {"model": "digits"}},
    }
    many = {"items": [one, named, {**one, "callback_url": "https://8.8.8.8/done"}]}
    policy = {"inconclusive": "review", "thresholds": {"auc_band": 0.05}, "budget": {"jobs": 20}}
    because = {"reason": "asked for by mistake"}
    later = {"due_at": "2030-01-01T00:00:00Z", **because}
    key = {"name": "shop", "scopes": ["read"], "days": 3}
    found = [
        ("POST", "/erasure-requests\nIdempotency-Key: k-1", one),
        ("POST", "/erasure-requests", named),
        ("POST", "/erasure-requests/bulk\nIdempotency-Key: k-2", many),
        ("POST", "/erasure-requests/bulk", many),
        ("POST", "/erasure-requests/er_1/extend", later),
        ("POST", "/erasure-requests/er_1/cancel", because),
        ("PATCH", "/models/digits/policy", policy),
        ("POST", "/models/digits/rollback", {"version": 1, **because}),
        ("POST", "/keys", key),
        ("POST", "/requests", dsr),
        ("POST", "/v2/requests", dsr),
        ("GET", "/requests/a7551968-d5d6-44b2-9831-815ac9017798", None),
        ("DELETE", "/requests/a7551968-d5d6-44b2-9831-815ac9017798", None),
        ("GET", "/discovery", None),
        ("GET", "/erasure-requests?status=scheduled&limit=3&cursor=er_01&overdue=true", None),
        ("GET", "/jobs?model=digits&limit=2&cursor=job_01", None),
        ("GET", '/jobs/job_1?wait=0\nIf-None-Match: "1", W/"2"', None),
        ("GET", "/jobs/job_1/events\nLast-Event-ID: 4", None),
        ("GET", "/models/digits/versions\nAccept: application/json;q=0.5, */*", None),
        ("GET", "/certificates/er_1/page\nX-Request-ID: mine", None),
        (
            "GET",
            "/readyz\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            None,
        ),
    ]
    kind = "\nContent-Type: application/json"
    return [
        (
            f"{method} {rest}{kind}\n\n{json.dumps(body)}" if body else f"{method} {rest}\n\n"
        ).encode()
        for method, rest, body in found
    ]


def open_http(folder: Path) -> Take:
    """The application with every limit off, on a home of its own; takes a call in one piece."""
    from core import rates
    from core.backend import open_backend
    from core.migrate import upgrade
    from core.settings import Settings
    from service.app import create_app

    unlimited = dict.fromkeys(rates.SETTINGS, rates.OFF)
    secret = SecretStr("a secret of at least sixteen characters")
    settings = Settings(home=folder / "home", secret=secret, **unlimited)  # type: ignore[arg-type]
    settings.home.mkdir()
    backend = open_backend(settings, send=lambda _: None)
    upgrade(backend.db)
    factories.with_model(backend)
    backend.close()
    app = create_app(settings, "api")
    client = TestClient(app, raise_server_exceptions=False)
    client.__enter__()  # for as long as the process lives
    key = app.state.first_key.text.encode()
    portal = client.portal
    assert portal is not None

    def take(data: bytes) -> bool:
        head, _, body = data.partition(b"\n\n")
        target, *lines = head.split(b"\n")
        method, _, path = target.partition(b" ")
        if not method.isalpha() or not path.isascii():
            return False  # the server's own parser stops these
        headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in lines)
        ]
        if not any(name == b"authorization" for name, _ in headers):
            headers.append((b"authorization", b"Bearer " + key))
        status, _ = portal.call(answered, app, method.upper().decode(), path, headers, body)
        assert status < 500, f"answered {status}"
        return status < 400

    return take


MUTATORS: tuple[Mutator, ...] = (*BYTES, counted, HEADERS, HEADERS, json_body, json_body, json_body)
HTTP = Parser("http", "whole calls: paths, cursors, headers, bodies", calls, MUTATORS, open_http, 3)
