"""Is the process alive, may it be sent traffic, and what is there to count?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from core import figures
from core.backend import Backend
from core.figures import Standing
from service.deps import BackendDep
from service.metrics import CONTENT_TYPE, Metrics
from service.schemas import Alive, Check, Readiness

log = logging.getLogger(__name__)

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> Alive:
    """The process answers."""
    return Alive()


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "Not ready; the checks say why."}},
)
def readyz(request: Request, response: Response, backend: BackendDep) -> Readiness:
    """Ready when the database answers and, where models are served, one is; not once it stops.

    `warnings` say what is wrong besides: no worker runs, requests are overdue.
    """
    standing = _standing(backend)
    checks = {"database": _answers(standing)}
    models: dict[str, Any] = {}
    loader = getattr(request.app.state, "loader", None)
    if loader is not None:
        models = loader.status()
        checks["model"] = _servable(models, loader.ready())
    if request.app.state.watcher.closing:
        checks["stopping"] = Check(ok=False, detail="this process stops: send nothing more to it")
    ready = all(check.ok for check in checks.values())
    if not ready:
        response.status_code = 503
    return Readiness(
        status="ready" if ready else "not ready",
        checks=checks,
        models=models,
        workers=standing and standing.workers,
        waiting=standing and standing.waiting,
        overdue=standing and standing.overdue,
        warnings=standing.warnings() if standing else [],
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Prometheus' text format: requests, jobs, deadlines, workers, models; no person's name."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE)


def _standing(backend: Backend) -> Standing | None:
    """What the database says of workers, jobs and due dates; None when it does not answer."""
    try:
        with backend.db.reading() as session:
            return figures.standing(session)
    except Exception as error:  # noqa: BLE001  # any: then it does not answer
        log.warning("the database does not answer: %s", error)
        return None


def _answers(standing: Standing | None) -> Check:
    if standing is None:
        return Check(ok=False, detail="the database does not answer")
    return Check(ok=True, detail="answers")


def _servable(models: Mapping[str, Mapping[str, Any]], ready: bool) -> Check:
    served = sorted(name for name, entry in models.items() if entry.get("digest"))
    if ready:
        return Check(ok=True, detail=f"served: {', '.join(served)}")
    if served:
        return Check(
            ok=False, detail="this replica lost its lease and serves nothing until it renews"
        )
    if models:
        return Check(ok=False, detail="no model could be loaded; see `models`")
    return Check(ok=False, detail="there is no model to serve yet: `lethe train` makes one")
