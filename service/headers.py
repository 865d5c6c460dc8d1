"""Headers that keep browsers from doing harm, on every answer; other origins, where allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from core import production
from core.settings import Settings

Header = tuple[bytes, bytes]

_ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""What an answer has that does not set it itself: data, to be neither run, framed nor kept."""

_TLS: Header = (b"strict-transport-security", b"max-age=31536000")
"""Told to browsers only where TLS is known to be in front: else they could not come back."""


def of(settings: Settings) -> tuple[Header, ...]:
    """The headers of every answer under these settings."""
    return (*_ALWAYS, _TLS) if settings.tls else _ALWAYS


def added(present: Iterable[Header], ours: Sequence[Header]) -> list[Header]:
    """The headers of an answer, and those of ours that it does not set."""
    found = list(present)
    names = {name for name, _ in found}
    return found + [header for header in ours if header[0] not in names]


def admit_origins(app: FastAPI, settings: Settings) -> None:
    """Let pages of LETHE_CORS_ORIGINS call the API; without it the application is left as it is.

    Outermost, so that errors can be read there too. No cookie is allowed: keys are in a header.
    """
    origins = production.origins(settings.cors_origins)
    if not origins:
        return
    within = app.build_middleware_stack

    def stack() -> ASGIApp:
        return CORSMiddleware(
            within(),
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "X-Request-ID",
                "X-Request-Timeout",
            ],
            expose_headers=[
                "ETag",
                "Idempotency-Replayed",
                "Location",
                "Retry-After",
                "X-Model-Version",
                "X-Request-ID",
            ],
        )

    app.build_middleware_stack = stack  # type: ignore[method-assign]  # made at the first call
