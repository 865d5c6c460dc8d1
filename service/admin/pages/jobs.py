"""Jobs: listed, followed, decided."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import Response

from core import facts, jobs
from core.db import database_now
from core.states import JOB
from service.admin import contexts
from service.admin.deps import Reviewer, Viewer
from service.admin.listing import Filter, Listing, states
from service.admin.rendering import done, render
from service.deps import Reader, Tx
from service.paging import Cursor, Id, StatusFilter, page
from service.schemas.common import Reason

router = APIRouter(prefix="/jobs")

PAGE = 50


@router.get("")
def index(
    me: Viewer, session: Reader, status: StatusFilter = None, cursor: Cursor = None
) -> Response:
    """Jobs, newest first."""
    found = jobs.listed(session, status=status or None, after=cursor or None, limit=PAGE + 1)
    shown, following = page(found, PAGE)
    listing = Listing(
        path="/admin/jobs",
        filters=[Filter("status", "State", states(list(JOB.moves)), status or "")],
        following=following,
        first=not cursor,
    )
    context = contexts.JobList(
        jobs=facts.of_jobs(session, shown), listing=listing, now=database_now(session)
    )
    return render(me, context)


@router.get("/{job_id}")
def show(me: Viewer, session: Reader, job_id: Id) -> Response:
    """One job."""
    [found] = facts.of_jobs(session, [jobs.get(session, job_id)])
    return render(me, contexts.Job(found=found, now=database_now(session)))


@router.post("/{job_id}/approve")
def approve(_: Reviewer, tx: Tx, job_id: Id, reason: Annotated[Reason, Form()]) -> Response:
    """Let a job in review go on."""
    jobs.approve(tx, job_id, reason)
    return done(f"/admin/jobs/{job_id}", "The job was approved.")
