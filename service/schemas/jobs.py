"""Jobs on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from core.facts import JobFacts
from service.schemas.common import Moment, Out


class JobView(Out):
    """A job: one model forgets one or many requests."""

    id: str
    kind: str
    status: str
    model: str
    strategy: str
    request_ids: list[str]
    revision: Annotated[int, Field(description="Counts every change: the ETag.")]
    progress: Annotated[
        dict[str, Any],
        Field(description="phase, step, total_steps, fraction, forget_loss, remember_loss, alpha"),
    ]
    attempts: Annotated[int, Field(description="Failed attempts so far.")]
    base_version: int | None
    result_version: int | None
    verification: dict[str, Any] | None
    destruction: dict[str, Any] | None
    error: str | None
    cancel_requested: bool
    due_at: Moment
    queued_at: Moment
    started_at: Moment | None
    published_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, facts: JobFacts) -> JobView:
        """As every answer shows it."""
        job = facts.job
        return cls(
            id=job.id,
            kind=job.kind,
            status=job.state,
            model=facts.model,
            strategy=job.strategy,
            request_ids=facts.request_ids,
            revision=job.revision,
            progress=job.progress,
            attempts=job.attempts,
            base_version=facts.base_version,
            result_version=facts.result_version,
            verification=job.verification,
            # Until then it says what is planned, and of whom.
            destruction=job.destruction if job.finished_at else None,
            error=job.error,
            cancel_requested=job.cancel_requested,
            due_at=job.due_at,
            queued_at=job.queued_at,
            started_at=job.started_at,
            published_at=job.published_at,
            finished_at=job.finished_at,
        )


class JobPage(Out):
    """Newest first."""

    items: list[JobView]
    next: str | None
