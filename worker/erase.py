"""One erasure job, from claim to certificate: a plain function, no Celery, no HTTP.

Each step leaves the job in a state from which another worker can go on: the loop below
starts at whatever state the claim found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from core import holding, jobs, requests, tracing
from core.errors import CancelRequested, LeaseLost
from core.holding import Held
from core.jobs import NO_PROGRESS
from unlearning import Cancelled
from worker.closing import Stopping
from worker.context import Context
from worker.destroy import destroy
from worker.engine import Engine, begin_peak
from worker.faults import told
from worker.forget import forget
from worker.heart import Heart
from worker.publish import publish
from worker.verify import drop_candidate, verify

log = logging.getLogger(__name__)

STEPS: dict[str, Callable[[Context], str]] = {
    "running": forget,
    "verifying": verify,
    "publishing": publish,
    "destroying": destroy,
}
"""What is done in each state that a worker holds; each returns the state that follows."""


def run(engine: Engine, held: Held) -> str | None:
    """Carry the job as far as it goes; returns the state it is left in, None when it was lost.

    Never raises for a fault of the job itself: the fault is recorded with it.
    """
    backend = engine.backend
    begin_peak(engine.device)
    with Heart(backend.db, held, backend.settings.lease_seconds, engine.closing) as heart:
        try:
            return _run(Context.open(engine, held, heart), held.state)
        except LeaseLost:
            log.warning("job %s was taken over by another worker", held.job_id)
            return None
        except (Cancelled, CancelRequested, Stopping) as error:
            if heart.lost:
                log.warning("job %s was taken over by another worker", held.job_id)
                return None
            if heart.cancelled or isinstance(error, CancelRequested):
                return _guarded(held, lambda: _cancel(engine, held))
            log.info("job %s is handed back: this worker stops", held.job_id)
            return _guarded(
                held, lambda: holding.hand_back(backend.db, held, "its worker was stopped")
            )
        except SQLAlchemyError:
            # Nothing can be recorded where nothing can be written: the lease runs out, and
            # whoever reaches the database next goes on.
            log.exception("job %s lost the database", held.job_id)
            return None
        except Exception as error:  # any: a fault must not look like a worker that was lost
            reason, retry = told(error)
            log.exception("job %s failed", held.job_id)
            return _guarded(
                held,
                lambda: holding.fail(backend.db, held, reason, backend.settings, retry=retry),
            )


def _run(context: Context, state: str) -> str:
    while state in STEPS:
        context.stop_if_lost()
        if state in ("running", "verifying"):
            context.stop_if_asked()
        step = STEPS[state]
        with tracing.span(step.__name__, job=context.job.id):
            state = step(context)
    return state


def _guarded(held: Held, record: Callable[[], str]) -> str | None:
    try:
        return record()
    except (LeaseLost, SQLAlchemyError) as error:
        log.warning("job %s: its end could not be recorded: %s", held.job_id, error)
        return None


def _cancel(engine: Engine, held: Held) -> str:
    """End a cancelled job and its requests; nothing of it stays behind."""
    with engine.backend.db.transaction() as tx:
        job = holding.check(tx, held)
        digest = drop_candidate(tx, job)
        holding.advance(
            tx,
            held,
            "cancelled",
            owner=None,
            lease_until=None,
            candidate=None,
            result_version_id=None,
            finished_at=tx.now,
            progress={**NO_PROGRESS, "phase": "cancelled"},
        )
        for request in jobs.requests_of(tx.session, job.id):
            request = requests.locked(tx, request.id)
            others = {j.state for j in requests.jobs_of(tx.session, request.id) if j.id != job.id}
            if others <= {"cancelled", "failed"} and request.state == "in_progress":
                to = request.outcome or "cancelled"
                requests.finish(tx, request, to, request.reason or "cancelled")
    if digest is not None:
        engine.backend.checkpoints.destroy(digest)
    engine.backend.scratch.destroy(held.job_id)
    return "cancelled"
