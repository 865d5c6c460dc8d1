"""Legal holds."""

from __future__ import annotations

from collections.abc import Sequence

from lethe.answers import LegalHold
from lethe.calls.asking import decided, given, in_path, pages
from lethe.flow import Flow, Stream


def hold(
    model: str,
    reason: str,
    *,
    subject_id: str | None = None,
    sample_ids: Sequence[str] | None = None,
) -> Flow[LegalHold]:
    """Keep a subject's samples, or those named, from being erased until the hold is released."""
    named = list(sample_ids) if sample_ids is not None else None
    body = given(model=model, subject_id=subject_id, sample_ids=named)
    return decided(LegalHold, "/legal-holds", reason, **body)


def holds(*, in_force: bool | None = None) -> Stream[LegalHold]:
    """Legal holds, newest first, the released ones too."""
    return pages(LegalHold, "/legal-holds", {"in_force": in_force})


def release_hold(hold_id: str, reason: str) -> Flow[LegalHold]:
    """End a hold. What was refused because of it is not taken up again: ask anew."""
    return decided(LegalHold, f"/legal-holds/{in_path(hold_id)}/release", reason)
