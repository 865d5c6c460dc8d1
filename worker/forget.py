"""The first step of a job: from the serving version to a candidate that has forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import delete

from core import canaries, holding, registry
from core.errors import Conflict
from core.jobs import request_ids
from core.points import reached
from core.records import Taint, Version
from core.samples import SPLIT_CODE
from unlearning import (
    VIB,
    Architecture,
    Outcome,
    Problem,
    Snapshot,
    StepReport,
    TrainingConfig,
    TrainProgress,
    rungs,
    train,
    unlearn,
)
from worker.context import Context
from worker.memory import with_less_memory
from worker.resuming import forget_where, resumable
from worker.sizing import wait_if_large
from worker.teaching import current_teacher

T = TypeVar("T")

_LongRun = Callable[[Snapshot | None, Callable[[Snapshot], None], int], T]
"""Given what to resume from, what to call with each snapshot, and halvings of the minibatch."""

RETRAIN = "retrain"
"""The strategy that is exact, and the last rung of every other one's ladder."""


@dataclass
class Forgotten:
    """A candidate and how it was made; `flagged`: erased samples treated as mislabelled.

    trained: samples that a retraining was trained on. below: their keys are below this one.
    """

    model: VIB
    strategy: str
    steps: int
    seconds: float
    converged: bool
    flagged: int
    warnings: list[str]
    trained: int = 0
    below: int = 0


def ladder(strategy: str) -> list[str]:
    """The strategy of each rung: its own rungs, then exact retraining."""
    return [RETRAIN] if strategy == RETRAIN else [strategy] * rungs(strategy) + [RETRAIN]


def forget(context: Context) -> str:
    """Make a candidate and register it; returns the state that the job is in then."""
    serves = _begin(context)
    context.report("loading", 0.02, now=True)
    if wait_if_large(context):
        return "needs_review"
    if not serves:
        # Candidates that remember the requests keep their taint, and are destroyed for it.
        return _nothing_to_unlearn(context, "the model serves no version")
    if context.job.kind == "erase" and len(context.erased_train) == 0:
        return _nothing_learnt(context)
    if context.job.kind == "erase":
        _take_canaries(context)
    strategy = ladder(context.job.strategy)[context.job.rung]
    result = (
        retrain(context, "retraining", 0.1, 0.7)
        if strategy == RETRAIN
        else _unlearn(context, strategy)
    )
    context.stop_if_asked()
    stored = context.engine.save_model(result.model)
    with context.engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, context.model.id)
        holding.check(tx, context.held)
        base = tx.session.get_one(Version, context.base.id)
        if base.state != "serving":
            raise Conflict(f"version {base.number} is no longer served: the job begins again")
        version = registry.add_version(
            tx,
            model,
            digest=stored.digest,
            metrics={},
            parent=base,
            job=context.job,
            forgotten=request_ids(tx.session, context.job.id),
        )
        candidate: dict[str, Any] = {
            "version_id": version.id,
            "digest": stored.digest,
            "strategy": result.strategy,
            "rung": context.job.rung,
            "steps": result.steps,
            "seconds": result.seconds,
            "converged": result.converged,
            "flagged": result.flagged,
            "trained": result.trained,
            "below": result.below,
            "warnings": result.warnings,
            "erased": len(context.erased),
            "erased_train": len(context.erased_train),
            "copies": context.copies,
        }
        job = holding.advance(
            tx,
            context.held,
            "verifying",
            candidate=candidate,
            result_version_id=version.id,
        )
        reached("candidate:before-commit")
    reached("candidate:after-commit")
    forget_where(context)
    context.job = job
    return "verifying"


def _begin(context: Context) -> bool:
    """Note the version that the job starts from, the one that is served now; is there one?"""
    with context.engine.backend.db.transaction() as tx:
        job = holding.check(tx, context.held)
        base = registry.serving(tx.session, job.model_id)
        if base is not None and job.base_version_id != base.id:
            job.base_version_id = base.id
            job.revision += 1
    context.job = job
    return base is not None


def _take_canaries(context: Context) -> None:
    """Take a canary group that no job has erased, if the data set has one left."""
    with context.engine.backend.db.transaction() as tx:
        canaries.reserve(tx, holding.check(tx, context.held), context.dataset.id)


def _nothing_learnt(context: Context) -> str:
    """The base was trained on no sample to erase, and no version that saw as little.

    A version that was trained later may have seen appended ones: it keeps its taint, and is
    destroyed for it.
    """
    appended = context.erased.keys[context.erased.splits == SPLIT_CODE["train"]]
    with context.engine.backend.db.transaction() as tx:
        registry.lock_model(tx, context.model.id)
        holding.check(tx, context.held)
        ids = request_ids(tx.session, context.job.id)
        own = [
            v.id
            for v in registry.versions(tx.session, context.model.id)
            if not len(appended)
            or ("drift" in v.metrics and v.metrics["drift"]["below"] <= appended.min())
        ]
        tx.session.execute(
            delete(Taint).where(Taint.request_id.in_(ids), Taint.version_id.in_(own))
        )
    return _nothing_to_unlearn(context, "none of the samples was trained on")


def _nothing_to_unlearn(context: Context, why: str) -> str:
    """Go straight to destroying the samples; the record says why."""
    verification = {"verdict": "PASS", "gates": [], "measures": {}, "note": why}
    with context.engine.backend.db.transaction() as tx:
        context.job = holding.advance(tx, context.held, "destroying", verification=verification)
    return "destroying"


def _unlearn(context: Context, strategy: str) -> Forgotten:
    def on_teaching(progress: TrainProgress) -> None:
        done = progress.step / progress.total_steps
        context.report("teaching", 0.05 + 0.15 * done, step=progress.step)

    def on_step(step: StepReport) -> None:
        reached("unlearn:step")
        total = max(step.total_steps, 1)
        context.report(
            "unlearning",
            0.2 + 0.5 * min(1.0, step.step / total),
            step=step.step,
            total_steps=total,
            forget_loss=step.forget_loss,
            remember_loss=step.remember_loss,
            alpha=step.alpha,
            forget_norm=step.forget_norm,
            remember_norm=step.remember_norm,
            cosine=step.cosine,
        )

    model = context.engine.load_model(context.base.digest)
    teacher = current_teacher(
        context.engine,
        context.model,
        context.references,
        seed=context.dataset.seed,
        on_progress=on_teaching,
        should_stop=context.heart.should_stop,
    )
    problem = Problem(
        context.to_forget,
        context.remaining,
        context.references,
        teacher,
        noise=len(context.to_forget) - len(context.erased_train),
    )

    def run(resume: Snapshot | None, keep: Callable[[Snapshot], None], halvings: int) -> Outcome:
        return unlearn(
            model,
            problem,
            strategy=strategy,
            seed=context.job.seed + context.job.rung,
            device=context.engine.device,
            rung=context.job.rung,
            halvings=halvings,
            on_step=on_step,
            should_stop=context.heart.should_stop,
            resume=resume,
            on_snapshot=keep,
            snapshot_every=context.engine.backend.settings.checkpoint_seconds,
        )

    outcome, halved = _to_the_end(context, run)
    return Forgotten(
        outcome.model,
        strategy,
        outcome.steps,
        outcome.seconds,
        outcome.converged,
        outcome.flagged_count - problem.noise,
        [*outcome.warnings, *halved],
    )


def _to_the_end(context: Context, run: _LongRun[T]) -> tuple[T, list[str]]:
    """What a long run gives, and warnings: from the job's scratch on, in the memory there is."""
    return with_less_memory(
        context,
        lambda halvings: resumable(context, lambda resume, keep: run(resume, keep, halvings)),
    )


def retrain(context: Context, phase: str, start: float, end: float) -> Forgotten:
    """Train anew on everything that remains: exact. Progress runs from `start` to `end`.

    Goes on from the job's scratch, and with smaller minibatches where memory runs out. Raises
    what `with_less_memory` does.
    """
    steps = 0

    def on_progress(progress: TrainProgress) -> None:
        nonlocal steps
        reached("retrain:step")
        steps = progress.step
        done = progress.step / progress.total_steps
        context.report(
            phase,
            start + (end - start) * done,
            step=progress.step,
            total_steps=progress.total_steps,
            remember_loss=progress.loss,
        )

    samples = context.split("train")
    began = time.perf_counter()
    training = dict(context.model.training)
    training.pop("preset", None)
    config = TrainingConfig.from_dict(training)

    def run(resume: Snapshot | None, keep: Callable[[Snapshot], None], halvings: int) -> VIB:
        return train(
            Architecture.from_dict(context.model.architecture),
            samples,
            replace(config, batch=max(2, config.batch >> halvings)),
            seed=context.job.seed,
            device=context.engine.device,
            on_progress=on_progress,
            should_stop=context.heart.should_stop,
            resume=resume,
            on_snapshot=keep,
            snapshot_every=context.engine.backend.settings.checkpoint_seconds,
        )

    model, halved = _to_the_end(context, run)
    return Forgotten(
        model,
        RETRAIN,
        steps,
        time.perf_counter() - began,
        converged=True,
        flagged=0,
        warnings=halved,
        trained=len(samples),
        below=context.dataset.next_key,
    )
