"""The first look at a job: one that erases very much waits for a person before it begins."""

from __future__ import annotations

import numpy as np

from core import holding
from core.jobs import NO_PROGRESS
from core.limits import APPROVAL, too_much
from core.samples import SPLIT_CODE
from worker.context import Context


def wait_if_large(context: Context) -> bool:
    """Give the job to a reviewer if it is too large and nobody has approved it; did it?"""
    if context.job.kind != "erase" or context.job.approved_at is not None:
        return False
    settings = context.engine.backend.settings
    samples, name, erased = context.engine.backend.samples, context.dataset.id, context.erased
    trained = erased.labels[erased.splits == SPLIT_CODE["train"]]
    labels, counts = np.unique(trained, return_counts=True)
    reason = too_much(
        len(erased),
        samples.count(name),
        dict(zip(labels.tolist(), counts.tolist(), strict=True)),
        samples.class_counts(name, "train"),
        context.dataset.classes,
        share=settings.review_share,
        class_share=settings.review_class_share,
    )
    if reason is None:
        return False
    with context.engine.backend.db.transaction() as tx:
        job = holding.check(tx, context.held)
        holding.give_to_person(tx, job, reason, progress={**NO_PROGRESS, "phase": APPROVAL})
    return True
