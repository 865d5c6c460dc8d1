"""Long runs go on where another worker left them: snapshots of the method, kept as scratch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from core.checkpoints import Checkpoint
from core.errors import LetheError
from unlearning import Snapshot
from worker.context import Context

log = logging.getLogger(__name__)

T = TypeVar("T")

Run = Callable[[Snapshot | None, Callable[[Snapshot], None]], T]
"""A run of the method: given what to resume from, and what to call with each snapshot."""


def resumable(context: Context, run: Run[T]) -> T:
    """Run from the job's last snapshot, if there is one of this very run; else from the start.

    The method names a run by the digest of all that decides it: weights, samples,
    configuration, seed. A snapshot of another run (samples of a later request are left out now;
    the rung is another) or a damaged one is dropped with a warning. A snapshot that cannot be
    written costs only time, if the worker dies.

    Raises what `run` raises.
    """

    def keep(snapshot: Snapshot) -> None:
        if context.heart.lost or context.heart.cancelled:
            return
        state = json.dumps(snapshot.state)
        began = time.perf_counter()
        try:
            context.engine.backend.scratch.write(
                context.job.id,
                context.held.fence,
                snapshot.state["step"],
                snapshot.arrays,
                {"state": state},
            )
        except (OSError, LetheError) as error:
            log.warning("where job %s stands could not be kept: %s", context.job.id, error)
            return
        log.info(
            "kept where job %s stands after step %d, in %.2f s",
            context.job.id,
            snapshot.state["step"],
            time.perf_counter() - began,
        )

    kept = _latest(context)
    if kept is not None:
        try:
            snapshot = Snapshot(kept.arrays, json.loads(kept.metadata["state"]))
            log.info("job %s goes on from step %d", context.job.id, snapshot.state["step"])
            return run(snapshot, keep)
        except (ValueError, KeyError) as error:
            # Either the snapshot's fault or the run's own, which then comes again.
            log.warning("job %s begins anew: %s", context.job.id, error)
            forget_where(context)
    return run(None, keep)


def forget_where(context: Context) -> None:
    """Remove the job's scratch; a store that does not let go is left to `destroy` and `sweep`."""
    try:
        context.engine.backend.scratch.destroy(context.job.id)
    except OSError as error:
        log.warning("the scratch of job %s stays for now: %s", context.job.id, error)


def _latest(context: Context) -> Checkpoint | None:
    try:
        return context.engine.backend.scratch.latest(context.job.id)
    except OSError as error:
        log.warning("where job %s stood cannot be read: %s", context.job.id, error)
        return None
