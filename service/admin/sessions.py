"""What the browser keeps: a signed session, and one message for the next page."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Literal

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.responses import Response
from starlette.types import Scope

IDLE_SECONDS = 30 * 60
"""A session ends after so long without a page."""
LONGEST_SECONDS = 12 * 3600
"""However busy, a session ends after so long: sign in again."""
RENEW_SECONDS = 60
"""A page renews a session that is at least so old."""
FLASH_SECONDS = 60

SESSION, FLASH, THEME = "lethe_session", "lethe_flash", "lethe_theme"
"""Names of the cookies."""


@dataclass(frozen=True)
class Session:
    """Who signed in: the key's id, never its text. began, seen: seconds since the epoch."""

    key_id: str
    began: int
    seen: int

    def due_for_renewal(self, now: float) -> bool:
        """Is it old enough that a page should hand out a new one?"""
        return now - self.seen >= RENEW_SECONDS


@dataclass(frozen=True)
class Flash:
    """A message for the next page."""

    tone: Literal["good", "bad"]
    text: str


class Sealer:
    """Signs and reads the cookies (HMAC-SHA-256, keyed by the service's secret)."""

    def __init__(self, secret: bytes) -> None:
        def serializer(salt: str) -> URLSafeTimedSerializer:
            options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
            return URLSafeTimedSerializer(secret, salt=salt, signer_kwargs=options)

        self._session = serializer("lethe dashboard session")
        self._flash = serializer("lethe dashboard flash")

    def seal(self, key_id: str, began: int | None = None) -> str:
        """A session's cookie, good from now on; `began` when it prolongs an earlier one."""
        sealed = self._session.dumps([key_id, int(time.time()) if began is None else began])
        assert isinstance(sealed, str)
        return sealed

    def session(self, cookie: str | None) -> Session | None:
        """The session in a cookie; None for one that is forged or over."""
        try:
            loaded, signed = self._session.loads(
                cookie or "", max_age=IDLE_SECONDS, return_timestamp=True
            )
        except BadSignature:
            return None
        key_id, began = loaded
        if time.time() - began > LONGEST_SECONDS:
            return None
        return Session(key_id, began, int(signed.timestamp()))

    def seal_flash(self, flash: Flash) -> str:
        """A message's cookie."""
        sealed = self._flash.dumps([flash.tone, flash.text])
        assert isinstance(sealed, str)
        return sealed

    def flash(self, cookie: str | None) -> Flash | None:
        """The message in a cookie, if it is ours and fresh."""
        try:
            tone, text = self._flash.loads(cookie or "", max_age=FLASH_SECONDS)
        except BadSignature:
            return None
        return Flash(tone, text)


def set_cookie(response: Response, scope: Scope, name: str, value: str, seconds: int) -> None:
    """Only for pages below /admin, never for scripts or other sites, and on TLS only there."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/admin",
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
