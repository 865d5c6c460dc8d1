"""The page by which a data subject sees where a request stands: plain words, nothing internal."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request

from core.status_links import Standing

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "status.css").read_text()

COOKIE = "lethe_status"
OPEN_SECONDS = 30 * 60
"""The code is asked for again after so long."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}
"""Of every answer: kept nowhere, found by no search engine, the address told to nobody."""

WORDS: dict[str, tuple[str, str]] = {
    "received": (
        "We have your request",
        "Work on it has not begun yet. You need not do anything.",
    ),
    "scheduled": (
        "We have your request",
        "It waits for its turn. You need not do anything.",
    ),
    "in_progress": (
        "We are erasing your data",
        "The data is being removed, and everything that has learnt from it is made to forget it. "
        "Then it is tested whether that worked.",
    ),
    "needs_review": (
        "A person is looking at your request",
        "Something about it could not be decided by itself. You need not do anything.",
    ),
    "rejected": (
        "Your request was refused",
        "Whoever you sent it to owes you the reasons. You may complain to the data protection "
        "authority of your country, and go to court.",
    ),
    "cancelled": (
        "Your request was withdrawn",
        "Nothing more is done about it. If you did not want that, ask whoever you sent it to.",
    ),
    "erased": (
        "Your data was erased",
        "It is gone, and what had learnt from it was made to forget it, or destroyed. The "
        "certificate says what was done and what was measured.",
    ),
    "no_data_found": (
        "There was no data about you",
        "Nothing was found under the name that the request gave. The certificate says so.",
    ),
}
"""What a state, or at the end an outcome, means to the person."""

STEPS = ("Received", "Being erased", "Done")


@dataclass(frozen=True)
class StatusPage:
    """All that the template gets. steps: (name, is it over, is it now)."""

    title: str
    text: str
    facts: list[tuple[str, str]]
    steps: list[tuple[str, bool, bool]]
    certified: bool
    here: str


@dataclass(frozen=True)
class CodePage:
    """The question for the code. left: how many more may be tried, after a wrong one."""

    left: int | None
    here: str


class Sealer:
    """Signs the cookie that says: the right code of this link was given."""

    def __init__(self, secret: bytes) -> None:
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._cookies = URLSafeTimedSerializer(
            secret, salt="lethe status page", signer_kwargs=options
        )

    def seal(self, link_hash: str) -> str:
        """The cookie's value."""
        sealed = self._cookies.dumps(link_hash)
        assert isinstance(sealed, str)
        return sealed

    def opens(self, cookie: str | None, link_hash: str) -> bool:
        """Is it ours, fresh, and of this link?"""
        try:
            found = self._cookies.loads(cookie or "", max_age=OPEN_SECONDS)
        except BadSignature:
            return False
        return bool(found == link_hash)


def address(request: Request, secret: str) -> str:
    """The link that is handed out, at the address under which the service was called."""
    return f"{request.url.scheme}://{request.url.netloc}/status/{secret}"


def render(page: StatusPage | CodePage | None) -> str:
    """A page as HTML; None for a link that is not known."""
    name = {StatusPage: "status.html", CodePage: "status_code.html"}.get(
        type(page), "status_unknown.html"
    )
    return _environment().get_template(name).render(page=page, style=_STYLE)


def page_of(standing: Standing, here: str) -> StatusPage:
    """Where a request stands, in words. here: the address of the page."""
    title, text = WORDS[_meaning(standing)]
    ended = standing.ended_at is not None
    facts = [("Received", day(standing.received_at))]
    if standing.ended_at is not None:
        facts.append(("Ended", day(standing.ended_at)))
    else:
        facts.append(("Ends at the latest", day(standing.due_at)))
        if standing.moved_from is not None:
            facts.append(("That date was moved from", day(standing.moved_from)))
    now = 2 if ended else 1 if standing.state in ("in_progress", "needs_review") else 0
    last = STEPS[2] if standing.state in ("completed", *_OPEN) else "Ended"
    names = (*STEPS[:2], last)
    steps = [(name, at < now or ended, at == now) for at, name in enumerate(names)]
    if ended and standing.outcome != "erased":
        steps = [steps[0], steps[2]]
    return StatusPage(title, text, facts, steps, standing.certified, here)


_OPEN = ("received", "scheduled", "in_progress", "needs_review")


def _meaning(standing: Standing) -> str:
    """A completed request is told by its outcome."""
    return (standing.outcome or "") if standing.state == "completed" else standing.state


def day(moment: datetime) -> str:
    """28 December 2026."""
    return f"{moment.day} {moment:%B %Y}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
