"""Jobs: listed, followed, decided."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from core import audit, facts, jobs, plots, registry, requests
from core.backend import Backend
from core.db import database_now
from core.limits import APPROVAL
from core.records import Job
from core.states import JOB
from service.admin import contexts, graphs, live, typed
from service.admin.deps import Reviewer, Viewer, Visitor
from service.admin.listing import Filter, Listing, names, states
from service.admin.live import Drawing, Easel
from service.admin.rendering import done, render, text
from service.deps import BackendDep, KeyringDep, Reader, Tx, WatcherDep
from service.pages.evidence import VERDICTS, allowed, measures_of, tried
from service.paging import Cursor, Id, ModelFilter, StatusFilter, page
from service.schemas.common import Reason

router = APIRouter(prefix="/jobs")

PAGE = 50
PARTS: Mapping[str, str] = {
    "job-head": "_job_head.html",
    "job-progress": "_job_progress.html",
    "job-curve-rows": "_job_curve_rows.html",
    "job-actions": "_job_actions.html",
    "job-result": "_job_result.html",
    "job-history": "_job_history.html",
}
"""What a job's page keeps fresh: the id of each part's element, and its template."""


@router.get("")
def index(
    me: Viewer,
    session: Reader,
    status: StatusFilter = None,
    model: ModelFilter = None,
    cursor: Cursor = None,
) -> Response:
    """Jobs, newest first."""
    found = jobs.listed(
        session,
        status=status or None,
        model=model or None,
        after=cursor or None,
        limit=PAGE + 1,
    )
    shown, following = page(found, PAGE)
    models = [each.name for each in registry.models(session)]
    listing = Listing(
        path="/admin/jobs",
        filters=[
            Filter("status", "State", states(list(JOB.moves)), status or ""),
            Filter("model", "Model", names(models), model or ""),
        ],
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
    return render(me, context_of(session, job_id))


@router.get("/{job_id}/live")
async def follow(
    me: Viewer,
    request: Request,
    backend: BackendDep,
    watcher: WatcherDep,
    keyring: KeyringDep,
    job_id: Id,
    revision: int | None = None,
) -> Response:
    """The parts of its page as server-sent events, while it goes on.

    revision: which the page shows.
    """
    assert me.caller is not None
    key_id, began = me.caller.key_id, request.scope["state"]["began"]
    easel: Easel = request.app.state.easel
    await run_in_threadpool(_must_exist, backend, job_id)

    async def draw() -> Drawing:
        return await run_in_threadpool(_drawing, backend, me, job_id)

    async def allowed() -> None:
        await keyring.holder(key_id, began)

    async def stream() -> AsyncIterator[str]:
        key = (job_id, me.may("review"))
        async for event in live.events(easel, watcher, key, draw, allowed, revision):
            yield event

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


def _must_exist(backend: Backend, job_id: str) -> None:
    with backend.db.reading() as session:
        jobs.get(session, job_id)


def _drawing(backend: Backend, me: Visitor, job_id: str) -> Drawing:
    with backend.db.reading() as session:
        context = context_of(session, job_id)
    job = context.found.job
    parts = {name: text(me, context, template) for name, template in PARTS.items()}
    return Drawing(job.revision, job.state in JOB.final, parts)


def context_of(session: Session, job_id: str) -> contexts.Job:
    """All that a job's page shows."""
    [found] = facts.of_jobs(session, [jobs.get(session, job_id)])
    job = found.job
    verification = job.verification or {}
    measures = verification.get("measures") or {}
    runs = plots.curves(session, job_id).runs
    return contexts.Job(
        found=found,
        now=database_now(session),
        requests=facts.of_requests(session, jobs.requests_of(session, job_id)),
        run=runs[-1] if runs else None,
        gates=[_gate(gate) for gate in verification.get("gates", [])],
        meaning=VERDICTS.get(verification.get("verdict", "")),
        tried=tried(verification.get("rungs_before", [])),
        measures=measures_of(measures) if measures else [],
        retrained=measures.get("retrained") is not None,
        histograms=graphs.histograms(plots.scores(session, job_id)),
        history=audit.history(session, "job", job_id),
        decidable=_decidable(job),
        ending=typed.ending(job_id),
    )


def _gate(gate: Mapping[str, object]) -> contexts.GateRow:
    found: dict[str, object] = dict(gate)
    return contexts.GateRow(
        gate=found,
        interval=graphs.interval(found),
        allowed=allowed(float(str(found["least"])), float(str(found["most"]))),
    )


def _decidable(job: Job) -> set[str]:
    """What core would not refuse now."""
    may = set()
    if job.state == "needs_review" and job.published_at is None:
        may.add("reject")
        if job.candidate is not None or job.progress["phase"] == APPROVAL:
            may.add("approve")
    if job.state in ("needs_review", "failed"):
        may.add("retry")
    stoppable = job.state in ("queued", "running", "verifying", "needs_review")
    if stoppable and job.published_at is None and not job.cancel_requested:
        may.add("cancel")
    return may


@router.post("/{job_id}/approve")
def approve(
    _: Reviewer,
    tx: Tx,
    job_id: Id,
    reason: Annotated[Reason, Form()],
    confirmed: typed.Typed = "",
) -> Response:
    """Publish the candidate of a job in review, or let one begin that erases very much."""
    typed.check(confirmed, job_id)
    jobs.approve(tx, job_id, reason)
    return done(f"/admin/jobs/{job_id}", "The job was approved and goes on.")


@router.post("/{job_id}/reject")
def reject(
    _: Reviewer,
    tx: Tx,
    job_id: Id,
    reason: Annotated[Reason, Form()],
    confirmed: typed.Typed = "",
) -> Response:
    """Refuse the candidate of a job in review."""
    typed.check(confirmed, job_id)
    jobs.reject(tx, job_id, reason)
    said = "The candidate was refused. Its requests stay in review: retry the job, or end them."
    return done(f"/admin/jobs/{job_id}", said)


@router.post("/{job_id}/retry")
def retry(_: Reviewer, tx: Tx, job_id: Id) -> Response:
    """Run a failed job, or one in review, again."""
    jobs.retry(tx, job_id)
    return done(f"/admin/jobs/{job_id}", "The job will run again.")


@router.post("/{job_id}/cancel")
def cancel(
    _: Reviewer,
    tx: Tx,
    job_id: Id,
    reason: Annotated[Reason, Form()],
    confirmed: typed.Typed = "",
) -> Response:
    """Cancel a job and the requests that it carries out."""
    typed.check(confirmed, job_id)
    requests.cancel_job(tx, job_id, reason)
    return done(f"/admin/jobs/{job_id}", "The job is cancelled, its requests with it.")
