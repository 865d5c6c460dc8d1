"""The Celery task: claim, run, record. It takes ids only, and those for the log alone."""

from __future__ import annotations

import logging
import time

from core import holding, logs, requests, tracing
from core.points import reached
from worker import erase
from worker.engine import Engine

log = logging.getLogger(__name__)


def work(engine: Engine, woken_for: str) -> str | None:
    """Claim the job whose turn it is, and run it; returns its id, None without one.

    One job a wake-up, so that a worker that is asked to stop does so after the job it holds.
    While more can be claimed, the next wake-up is sent.
    """
    if engine.closing.begun:  # a message that had been fetched already: sweep sends it again
        return None
    backend, began = engine.backend, time.time_ns()
    held = holding.claim(backend.db, engine.owner, backend.settings, engine.offer)
    if held is None:
        log.debug("woken for %s, but nothing can be claimed", woken_for)
        return None
    reached("claim:after-commit")
    with backend.db.reading() as session:
        calls = requests.calls_of(session, held.job_id)
    traces = [traceparent for _, traceparent in calls if traceparent]
    parent = traces[0] if traces else None
    with (
        logs.bound(job_id=held.job_id, request_ids=[call_id for call_id, _ in calls]),
        tracing.span("job", parent=parent, links=traces[1:], began_ns=began, job=held.job_id),
    ):
        with tracing.span("claim", began_ns=began):
            pass
        log.info("job claimed", extra={"state": held.state, "fence": held.fence})
        state = erase.run(engine, held)
        log.info("job let go", extra={"state": state or "another worker's now"})
    for job_id in holding.claimable(backend.db, 1, engine.offer):
        backend.db.wake(job_id)
    return held.job_id
