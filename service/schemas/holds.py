"""Legal holds on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from core.records import LegalHold
from service.schemas.common import Because, Moment, Name, Out, SampleId, text


class NewLegalHold(Because):
    """What must be kept: the samples of one subject, or the samples named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "mnist",
                "subject_id": "subject-42",
                "reason": "evidence in case 3 O 17/26",
            }
        },
    )
    model: Name
    subject_id: Annotated[
        str | None, text(1000), Field(description="Used once; only a keyed hash of it is kept.")
    ] = None
    sample_ids: Annotated[list[SampleId] | None, Field(min_length=1, max_length=100_000)] = None


class LegalHoldView(Out):
    """A legal hold."""

    id: str
    model: str
    of_subject: Annotated[bool, Field(description="Is it of a person, or of samples named?")]
    sample_count: Annotated[int, Field(description="When it was placed.")]
    reason: str
    placed_at: Moment
    released_at: Moment | None
    release_reason: str | None

    @classmethod
    def of(cls, hold: LegalHold, model: str) -> LegalHoldView:
        """As lists show it."""
        return cls(
            id=hold.id,
            model=model,
            of_subject=hold.subject_hash is not None,
            sample_count=hold.sample_count,
            reason=hold.reason,
            placed_at=hold.placed_at,
            released_at=hold.released_at,
            release_reason=hold.release_reason,
        )


class LegalHoldPage(Out):
    """Newest first."""

    items: list[LegalHoldView]
    next: str | None
