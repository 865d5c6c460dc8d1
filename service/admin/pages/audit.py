"""The audit chain: read, filtered, verified, exported."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from core import audit, trail
from core.backend import Backend
from core.errors import TooBusy
from service.admin import contexts_records as contexts
from service.admin.deps import Viewer
from service.admin.listing import Filter, Listing
from service.admin.rendering import Done, done, render
from service.admin.sessions import Flash
from service.deps import BackendDep, Reader
from service.schemas.common import NO_NUL

router = APIRouter(prefix="/audit")

PAGE = 50

Words = Annotated[str, Query(max_length=100, pattern=NO_NUL)]
Day = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]

_verifying = threading.Lock()
"""The chain is walked by one call at a time: each reads all of it."""


def _chosen(
    noun: Words = "", noun_id: Words = "", event: Words = "", since: Day = "", until: Day = ""
) -> dict[str, str]:
    """What the form above the list asks for; days are days of UTC, both included."""
    fields = {"noun": noun, "noun_id": noun_id, "event": event, "since": since, "until": until}
    return {name: value.strip() for name, value in fields.items()}


Chosen = Annotated[dict[str, str], Depends(_chosen)]


@router.get("")
def index(
    me: Viewer,
    session: Reader,
    chosen: Chosen,
    cursor: Annotated[str, Query(pattern=r"^\d{0,18}$")] = "",
) -> Response:
    """Events, newest first."""
    before = int(cursor) if cursor else None
    found = trail.page(session, _wanted(chosen), before=before, limit=PAGE + 1)
    shown = found[:PAGE]
    listing = Listing(
        path="/admin/audit",
        filters=[Filter(name, name, (), value) for name, value in chosen.items()],
        following=str(shown[-1].seq) if len(found) > PAGE else None,
        first=before is None,
    )
    context = contexts.Audit(
        events=shown,
        head=audit.head_of(session),
        listing=listing,
        nouns=trail.NOUNS,
        chosen=chosen,
    )
    return render(me, context)


@router.get("/export")
def export(_: Viewer, backend: BackendDep, chosen: Chosen) -> Response:
    """The events, oldest first, as JSON lines: whoever has all of them can check the chain."""
    headers = {"Content-Disposition": 'attachment; filename="lethe-audit.jsonl"'}
    lines = _lines(backend, _wanted(chosen))
    return StreamingResponse(lines, headers=headers, media_type="application/x-ndjson")


def _lines(backend: Backend, wanted: trail.Wanted) -> Iterator[bytes]:
    with backend.db.reading() as session:
        yield from trail.exported(session, wanted)


@router.post("/verify")
def verify(_: Viewer, backend: BackendDep) -> Response:
    """Recompute every hash from the first event on."""
    if not _verifying.acquire(blocking=False):
        raise TooBusy("the chain is being verified already: wait for that to end")
    try:
        with backend.db.reading() as session:
            report = audit.verify_chain(session)
    finally:
        _verifying.release()
    if report.broken_at is None:
        head = report.head[:16]
        said = f"The chain holds: {report.events:,} events were recomputed, up to {head}…"
        return done("/admin/audit", said)
    said = f"The chain is broken at event {report.broken_at:,}: {report.reason}."
    return Done("/admin/audit", Flash("bad", said))


def _wanted(chosen: dict[str, str]) -> trail.Wanted:
    until = _midnight(chosen["until"])
    return trail.Wanted(
        noun=chosen["noun"] or None,
        noun_id=chosen["noun_id"] or None,
        event=chosen["event"] or None,
        since=_midnight(chosen["since"]),
        until=until + timedelta(days=1) if until else None,
    )


def _midnight(day: str) -> datetime | None:
    """The beginning of a day; None for no day, or one that is in no calendar."""
    try:
        return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    except ValueError:
        return None
