"""Many erasure requests at once: exported as CSV, cancelled, put off or refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response, StreamingResponse

from core import facts, refusals, requests, searching
from core.backend import Backend
from core.db import Transaction, database_now
from core.deciding import decided_by
from core.errors import Invalid, LetheError, NotFound
from core.searching import Search
from service.admin import contexts
from service.admin.deps import Reviewer, Viewer
from service.admin.pages.erasure_requests import PATH, ExternalId, Refusal, Sort, later
from service.admin.rendering import Done, render
from service.admin.sessions import Flash
from service.deps import BackendDep, Reader
from service.paging import ModelFilter, StatusFilter
from service.schemas.common import Reason

router = APIRouter(prefix="/erasure-requests")

AT_ONCE = 500
"""Rows of the export that are read together."""
MOST = 200
"""Requests that one action takes."""
COLUMNS = (
    *("id", "state", "model", "external_id", "regulation", "samples", "outcome", "reason"),
    *("received_at", "due_at", "completed_at"),
)
ACTIONS = {"cancel": "Cancel", "extend": "Put off", "reject": "Refuse"}
Ids = Annotated[list[str], Form(max_length=MOST)]


@router.get("/export.csv")
def export(
    _: Viewer,
    backend: BackendDep,
    session: Reader,
    status: StatusFilter = None,
    model: ModelFilter = None,
    external_id: ExternalId = None,
    sort: Sort = "newest",
) -> Response:
    """The list as it is filtered, all of its pages, as CSV."""
    wanted = Search(status or None, model or None, external_id or None, sort=sort or "newest")
    searching.search(session, wanted, limit=1)  # what is wrong is said before the file begins
    headers = {"Content-Disposition": 'attachment; filename="erasure-requests.csv"'}
    return StreamingResponse(_rows(backend, wanted), media_type="text/csv", headers=headers)


def _rows(backend: Backend, wanted: Search) -> Iterator[str]:
    yield _line(COLUMNS)
    after: str | None = None
    while True:
        with backend.db.reading() as session:
            found = searching.search(session, wanted, after=after, limit=AT_ONCE)
            shown = facts.of_requests(session, found.requests)
        yield "".join(_line(_values(each)) for each in shown)
        after = found.following
        if after is None:
            return


def _values(found: facts.RequestFacts) -> list[object]:
    request = found.request
    times = (request.received_at, request.due_at, request.completed_at)
    return [
        request.id,
        request.state,
        found.model,
        _harmless(request.external_id),
        _harmless(request.regulation),
        request.sample_count,
        request.outcome,
        _harmless(request.reason),
        *(each and each.astimezone(UTC).isoformat(timespec="seconds") for each in times),
    ]


def _harmless(text: str | None) -> str | None:
    """A spreadsheet takes what begins like this for a formula."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text


def _line(values: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)  # type: ignore[arg-type]
    return buffer.getvalue()


@router.post("/bulk")
def ask(
    me: Reviewer,
    session: Reader,
    action: Annotated[str, Form(max_length=20)],
    chosen: Ids = [],  # noqa: B006  # FastAPI copies it
) -> Response:
    """What is to be done to these: reason, and the number of requests typed to confirm."""
    if action not in ACTIONS:
        raise Invalid(f"unknown action {action!r}; use {', '.join(ACTIONS)}")
    if not chosen:
        raise Invalid("tick the requests first")
    found = [requests.get(session, request_id) for request_id in dict.fromkeys(chosen)]
    context = contexts.Bulk(
        action=action,
        label=ACTIONS[action],
        requests=facts.of_requests(session, found),
        refusals=refusals.REASONS,
        now=database_now(session),
    )
    return render(me, context)


@router.post("/bulk/do")
def do(
    me: Reviewer,
    backend: BackendDep,
    action: Annotated[str, Form(max_length=20)],
    reason: Annotated[Reason, Form()],
    confirmed: Annotated[str, Form(alias="typed", max_length=20)],
    chosen: Ids,
    due_on: Annotated[date | None, Form()] = None,
    refusal: Refusal = refusals.OTHER,
) -> Response:
    """Do it, each request in a transaction of its own: what one refuses stops no other."""
    ids = list(dict.fromkeys(chosen))
    if confirmed.strip() != str(len(ids)):
        raise Invalid(f"type {len(ids)}, the number of requests, to confirm")
    assert me.caller is not None, "a reviewer is signed in"
    act = _action(action, reason, due_on, refusal)
    refused = []
    for request_id in ids:
        try:
            with backend.db.transaction() as tx:
                act(tx, request_id)
                decided_by(tx, me.caller.key_id)
        except LetheError as error:
            refused.append(str(error))
    good = len(ids) - len(refused)
    said = f"{good} of {len(ids)} done." + "".join(f" Not done: {each}." for each in refused[:3])
    return Done(PATH, Flash("bad" if refused else "good", said[:1500]))


def _action(
    action: str, reason: str, due_on: date | None, refusal: str
) -> Callable[[Transaction, str], object]:
    if action == "extend":
        if due_on is None:
            raise Invalid("say the day on which they will be due")
        return lambda tx, i: requests.extend(tx, i, later(tx.session, i, due_on), reason)
    if action not in ACTIONS:
        raise NotFound(f"there is no action {action}")
    to = "cancelled" if action == "cancel" else "rejected"
    return lambda tx, request_id: requests.end(tx, request_id, to, reason, refusal=refusal)
