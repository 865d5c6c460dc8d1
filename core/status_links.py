"""The data subject's own way to see where a request stands: a link, and a code to go with it.

The link's secret has 256 random bits and the code eight digits; they go to the person by two
ways, so that who finds one of them sees nothing. Kept of both are keyed digests alone. After
`MOST_WRONG` wrong codes in a row the link is shut until somebody makes a new one.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import audit, requests
from core.db import Transaction
from core.errors import NotFound
from core.identities import Identities
from core.records import Certificate, ErasureRequest, StatusLink

MOST_WRONG = 10
DIGITS = 8


@dataclass(frozen=True)
class Made:
    """A new link's secret and its code: shown this once."""

    secret: str
    code: str


@dataclass(frozen=True)
class Tried:
    """What came of a code: is it right, and how many more may be tried?"""

    good: bool
    left: int


@dataclass(frozen=True)
class Standing:
    """Where a request stands, as the person it is about may know it.

    moved_from: the due date before it was moved, if it was.
    """

    state: str
    outcome: str | None
    received_at: datetime
    due_at: datetime
    moved_from: datetime | None
    ended_at: datetime | None
    certified: bool


def make(tx: Transaction, identities: Identities, request_id: str) -> Made:
    """A link to this request, in place of any before, which no longer opens anything.

    Raises `NotFound` for an unknown request.
    """
    requests.locked(tx, request_id)
    made = Made(secrets.token_urlsafe(32), f"{secrets.randbelow(10**DIGITS):0{DIGITS}}")
    old = tx.session.get(StatusLink, request_id)
    if old is not None:
        tx.session.delete(old)
        tx.session.flush()
    link = StatusLink(
        request_id=request_id,
        link_hash=identities.status_link(made.secret),
        code_hash=identities.status_code(request_id, made.code),
        failed=0,
        made_at=tx.now,
    )
    tx.session.add(link)
    tx.record("erasure_request", request_id, "status link made")
    return made


def made_for(session: Session, request_id: str) -> StatusLink | None:
    """The link of a request, as far as it is kept."""
    return session.get(StatusLink, request_id)


def find(session: Session, identities: Identities, secret: str) -> StatusLink:
    """The link with this secret; raises `NotFound`."""
    query = select(StatusLink).where(StatusLink.link_hash == identities.status_link(secret))
    return _there(session.scalars(query).one_or_none())


def unlock(tx: Transaction, identities: Identities, secret: str, code: str) -> Tried:
    """Try a code on a link. A wrong one counts, so that the transaction must commit either way.

    Spaces and dashes in the code do not matter. Raises `NotFound` for an unknown link.
    """
    query = select(StatusLink).where(StatusLink.link_hash == identities.status_link(secret))
    link = _there(tx.session.scalars(query.with_for_update()).one_or_none())
    if link.failed >= MOST_WRONG:
        return Tried(good=False, left=0)
    plain = "".join(each for each in code if each.isalnum())
    if hmac.compare_digest(identities.status_code(link.request_id, plain), link.code_hash):
        link.failed, link.opened_at = 0, tx.now
        return Tried(good=True, left=MOST_WRONG)
    link.failed += 1
    if link.failed == MOST_WRONG:
        tx.record("erasure_request", link.request_id, "status link shut", wrong_codes=MOST_WRONG)
    return Tried(good=False, left=MOST_WRONG - link.failed)


def standing(session: Session, link: StatusLink) -> Standing:
    """Where the link's request stands."""
    request = session.get_one(ErasureRequest, link.request_id)
    events = audit.history(session, "erasure_request", request.id)
    moved = [event.data["before"] for event in events if event.event == "extended"]
    return Standing(
        state=request.state,
        outcome=request.outcome,
        received_at=request.received_at,
        due_at=request.due_at,
        moved_from=datetime.fromisoformat(moved[0]) if moved else None,
        ended_at=request.completed_at,
        certified=session.get(Certificate, request.id) is not None,
    )


def _there(link: StatusLink | None) -> StatusLink:
    if link is None:
        raise NotFound("this link is not known, or a newer one was made in its place")
    return link
