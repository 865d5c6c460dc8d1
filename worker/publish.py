"""The third step of a job: the candidate becomes the serving version, in one transaction."""

from __future__ import annotations

from core import holding, registry
from core.points import reached
from core.records import Version
from worker.context import Context


def publish(context: Context) -> str:
    """Swap the serving version if the fencing number still holds; returns the job's state.

    The checkpoint is read back first, so that a file which was damaged or lost since it was
    written is never published (`CheckpointCorrupt`, `CheckpointMissing`).
    """
    context.report("publishing", 0.92, now=True)
    candidate = context.job.candidate
    assert candidate is not None, "a job is published with its candidate on record"
    context.engine.backend.checkpoints.read(candidate["digest"])
    with context.engine.backend.db.transaction() as tx:
        registry.lock_model(tx, context.model.id)
        holding.check(tx, context.held)
        registry.publish(tx, tx.session.get_one(Version, candidate["version_id"]))
        context.job = holding.advance(tx, context.held, "destroying", published_at=tx.now)
        reached("publish:before-commit")
    reached("publish:after-commit")
    return "destroying"
