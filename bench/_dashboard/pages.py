"""Every page of the dashboard, at its usual and at its worst address."""

from __future__ import annotations

from bench._dashboard.filling import Plan, id_of


def addresses(plan: Plan) -> dict[str, str]:
    """Path of each page by its name."""
    done, late = id_of("er", plan.requests // 2 + 1), id_of("er", plan.requests - 1)
    job, running = id_of("job", plan.jobs // 2 + 1), id_of("job", plan.jobs - 1)
    people = "/admin/datasets/people"
    ticket = f"ticket-{plan.requests // 3}"
    return {
        "overview": "/admin/",
        "overview, live": "/admin/overview/live",
        "requests": "/admin/erasure-requests",
        "requests, open": "/admin/erasure-requests?status=open",
        "requests, late": "/admin/erasure-requests?status=overdue",
        "requests, in review": "/admin/erasure-requests?status=needs_review",
        "requests, completed": "/admin/erasure-requests?status=completed",
        "requests, soonest due": "/admin/erasure-requests?sort=due",
        "requests, of a model": "/admin/erasure-requests?model=faces&status=rejected",
        "requests, by external id": f"/admin/erasure-requests?external_id={ticket}",
        "request, completed": f"/admin/erasure-requests/{done}",
        "request, waiting": f"/admin/erasure-requests/{late}",
        "certificate": f"/admin/erasure-requests/{done}/certificate",
        "jobs": "/admin/jobs",
        "jobs, in review": "/admin/jobs?status=needs_review",
        "jobs, cancelled": "/admin/jobs?status=cancelled",
        "job, succeeded": f"/admin/jobs/{job}",
        "job, running": f"/admin/jobs/{running}",
        "models": "/admin/models",
        "model": "/admin/models/faces",
        "model, its middle age": f"/admin/models/faces?before={plan.jobs // 6}",
        "policy": "/admin/models/faces/policy",
        "try": "/admin/models/faces/try",
        "data sets": "/admin/datasets",
        "data set": people,
        "subjects": f"{people}/subjects",
        "subjects, the last": f"{people}/subjects?cursor=3-60",
        "samples": f"{people}/samples?label=3",
        "legal holds": "/admin/legal-holds",
        "audit": "/admin/audit",
        "audit, of one request": f"/admin/audit?noun=erasure_request&noun_id={done}",
        "audit, a rare event": "/admin/audit?event=imported",
        "audit, a rare noun": "/admin/audit?noun=key",
        "audit, two years ago": f"/admin/audit?until={plan.now.year - 1}-01-31",
        "keys": "/admin/keys",
        "system": "/admin/system",
        "sign in": "/admin/sign-in",
    }
