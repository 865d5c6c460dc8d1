"""Jobs: listed, read, followed, decided."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from core import facts, jobs, requests
from core.backend import Backend
from core.db import Transaction
from core.records import Job
from core.states import JOB
from service.deps import BackendDep, CanRead, CanReview, Reader, Tx, WatcherDep
from service.openapi import problems
from service.paging import Cursor, Id, Limit, ModelFilter, StatusFilter, page
from service.schemas import Because, JobPage, JobView
from service.watcher import Watcher

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=problems(404, 409))

KEEP_ALIVE_SECONDS = 15.0
"""An event stream says something at least this often, so that proxies keep it open."""

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It has not changed."}}
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"const": "job"},
        "id": {"type": "string", "description": "The job's revision."},
        "data": {"type": "string", "description": "The job as JSON, as GET /jobs/{job_id} has it."},
    },
    "required": ["event", "id", "data"],
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": _EVENT}},
        "description": "Server-sent events, each like this, until the job has ended.",
    },
    204: {"description": "The job has ended and its last event was received already."},
}


@router.get("")
def list_all(
    caller: CanRead,
    session: Reader,
    status: StatusFilter = None,
    model: ModelFilter = None,
    limit: Limit = 50,
    after: Cursor = None,
) -> JobPage:
    """Jobs, newest first."""
    if model is not None:
        caller.permit(model)
    found = jobs.listed(
        session,
        status=status,
        model=model,
        only=caller.model_id,
        after=after,
        limit=limit + 1,
    )
    shown, following = page(found, limit)
    items = [JobView.of(each) for each in facts.of_jobs(session, shown)]
    return JobPage(items=items, next=following)


@router.get("/{job_id}", response_model=JobView, responses=_UNCHANGED)
async def get(
    caller: CanRead,
    request: Request,
    backend: BackendDep,
    watcher: WatcherDep,
    job_id: Id,
    wait: Annotated[
        float, Query(ge=0, le=60, description="Seconds to wait for a change, at most.")
    ] = 0.0,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """One job. `ETag` is its revision.

    With `wait` the answer comes when the job differs from what If-None-Match names (or,
    without it, from what it was when the call came), when it has ended, or when time is up.
    """
    view = await run_in_threadpool(_read, backend, job_id, caller.model_id)
    known = view.revision if if_none_match is None else _known(if_none_match, view.revision)
    if wait and known == view.revision and view.status not in JOB.final:
        await _wait(request, watcher, job_id, view.revision, wait)
        view = await run_in_threadpool(_read, backend, job_id, caller.model_id)
    headers = {"ETag": f'"{view.revision}"', "Cache-Control": "no-cache"}
    if if_none_match is not None and known == view.revision:
        return Response(status_code=304, headers=headers)
    return Response(view.model_dump_json(), headers=headers, media_type="application/json")


@router.get("/{job_id}/events", response_class=StreamingResponse, responses=_EVENTS)
async def events(
    caller: CanRead,
    backend: BackendDep,
    watcher: WatcherDep,
    job_id: Id,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """The job as server-sent events: as it is now, then at each change until it has ended."""
    view = await run_in_threadpool(_read, backend, job_id, caller.model_id)
    if view.status in JOB.final and last_event_id == str(view.revision):
        return Response(status_code=204)  # a browser stops to reconnect at this
    return StreamingResponse(
        _events(backend, watcher, view, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    backend: Backend, watcher: Watcher, view: JobView, last_event_id: str | None
) -> AsyncIterator[str]:
    sent = last_event_id
    while True:
        if str(view.revision) != sent:
            sent = str(view.revision)
            yield f"id: {sent}\nevent: job\ndata: {view.model_dump_json()}\n\n"
        if view.status in JOB.final or watcher.closing:
            return
        if not await watcher.wait(view.id, view.revision, KEEP_ALIVE_SECONDS):
            yield ": still here\n\n"
        view = await run_in_threadpool(_read, backend, view.id)


async def _wait(
    request: Request, watcher: Watcher, job_id: str, revision: int, seconds: float
) -> None:
    """Until the job changes, time is up, or the client has gone."""
    changed = asyncio.create_task(watcher.wait(job_id, revision, seconds))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((changed, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (changed, gone):
            task.cancel()
        await asyncio.gather(changed, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _read(backend: Backend, job_id: str, only: str | None = None) -> JobView:
    with backend.db.reading() as session:
        [found] = facts.of_jobs(session, [jobs.get(session, job_id, only=only)])
        return JobView.of(found)


def _known(if_none_match: str, revision: int) -> int | None:
    """The current revision if the header names it; weak tags and lists count (RFC 9110)."""
    tags = re.findall(r'(?:W/)?"([^"]*)"|(\*)', if_none_match)
    return revision if any(tag == str(revision) or star for tag, star in tags) else None


@router.post("/{job_id}/approve")
def approve(caller: CanReview, tx: Tx, job_id: Id, body: Because) -> JobView:
    """Publish the candidate of a job in review, or let one begin that erases very much."""
    jobs.get(tx.session, job_id, only=caller.model_id)
    return _view(tx, jobs.approve(tx, job_id, body.reason))


@router.post("/{job_id}/reject")
def reject(caller: CanReview, tx: Tx, job_id: Id, body: Because) -> JobView:
    """Refuse the candidate of a job in review; its requests stay in review."""
    jobs.get(tx.session, job_id, only=caller.model_id)
    return _view(tx, jobs.reject(tx, job_id, body.reason))


@router.post("/{job_id}/retry")
def retry(caller: CanReview, tx: Tx, job_id: Id) -> JobView:
    """Run a failed job, or one in review, again."""
    jobs.get(tx.session, job_id, only=caller.model_id)
    return _view(tx, jobs.retry(tx, job_id))


@router.post("/{job_id}/cancel")
def cancel(caller: CanReview, tx: Tx, job_id: Id, body: Because) -> JobView:
    """Cancel a job and the requests that it carries out; a running one stops at its next step."""
    return _view(tx, requests.cancel_job(tx, job_id, body.reason, only=caller.model_id))


def _view(tx: Transaction, job: Job) -> JobView:
    tx.session.flush()
    tx.session.refresh(job)
    [found] = facts.of_jobs(tx.session, [job])
    return JobView.of(found)
