"""Erasure requests as people look for them: filtered, found by whose they are, in an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.orm import Session

from core import registry
from core.db import database_now
from core.errors import Invalid
from core.records import ErasureRequest
from core.states import REQUEST, REQUEST_OPEN

SORTS = {"newest": "Newest first", "oldest": "Oldest first", "due": "Due soonest first"}
GROUPS = {"open": "All open", "overdue": "Overdue"}
"""States that are no single state of the machine."""


@dataclass(frozen=True)
class Search:
    """What to look for; None for whatever. state: one of the machine's, or of GROUPS.

    subject: the keyed hash of a plain identifier, never the identifier.
    """

    state: str | None = None
    model: str | None = None
    external_id: str | None = None
    subject: str | None = None
    sort: str = "newest"


@dataclass(frozen=True)
class Found:
    """A page of requests; `following` is the cursor of the next one, None on the last."""

    requests: Sequence[ErasureRequest]
    following: str | None


def search(session: Session, wanted: Search, *, after: str | None = None, limit: int = 50) -> Found:
    """Requests like this, at most `limit`, those after the cursor.

    Raises `Invalid` for a state, an order or a cursor that does not exist, `NotFound` for such
    a model.
    """
    if wanted.sort not in SORTS:
        raise Invalid(f"unknown order {wanted.sort!r}; use {', '.join(SORTS)}")
    query = _filtered(session, wanted)
    if wanted.sort == "due":
        query = query.order_by(ErasureRequest.due_at, ErasureRequest.id)
        if after is not None:
            due_at, request_id = _due_cursor(after)
            key = tuple_(ErasureRequest.due_at, ErasureRequest.id)
            query = query.where(key > (due_at, request_id))
    elif wanted.sort == "oldest":
        query = query.order_by(ErasureRequest.id)
        if after is not None:
            query = query.where(ErasureRequest.id > after)
    else:
        query = query.order_by(ErasureRequest.id.desc())
        if after is not None:
            query = query.where(ErasureRequest.id < after)
    found = list(session.scalars(query.limit(limit + 1)))
    shown = found[:limit]
    following = _cursor(wanted, shown[-1]) if len(found) > limit else None
    return Found(shown, following)


def _filtered(session: Session, wanted: Search) -> Select[ErasureRequest]:
    query = select(ErasureRequest)
    if wanted.state is not None:
        query = query.where(*_in_state(session, wanted.state))
    if wanted.model is not None:
        model = registry.model_named(session, wanted.model)
        query = query.where(ErasureRequest.model_id == model.id)
    if wanted.external_id is not None:
        query = query.where(ErasureRequest.external_id == wanted.external_id)
    if wanted.subject is not None:
        query = query.where(ErasureRequest.subject_hash == wanted.subject)
    return query


def _in_state(session: Session, state: str) -> list[ColumnElement[bool]]:
    if state in REQUEST.moves:
        return [ErasureRequest.state == state]
    if state not in GROUPS:
        raise Invalid(f"unknown state {state!r}; use {', '.join((*GROUPS, *REQUEST.moves))}")
    still_open: list[ColumnElement[bool]] = [ErasureRequest.state.in_(REQUEST_OPEN)]
    if state == "overdue":
        return [*still_open, ErasureRequest.due_at < database_now(session)]
    return still_open


def _cursor(wanted: Search, last: ErasureRequest) -> str:
    return f"{last.due_at.isoformat()}~{last.id}" if wanted.sort == "due" else last.id


def _due_cursor(text: str) -> tuple[datetime, str]:
    moment, _, request_id = text.partition("~")
    try:
        due_at = datetime.fromisoformat(moment)
    except ValueError:
        raise Invalid("this cursor is of a list in another order") from None
    if due_at.tzinfo is None or not request_id:
        raise Invalid("this cursor is of a list in another order")
    return due_at, request_id
