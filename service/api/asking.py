"""From an erasure request on the wire to what `core` takes in, and back."""

from __future__ import annotations

from collections.abc import Callable

from core.asked import NewRequest, Submitted
from core.facts import RequestFacts
from core.records import ErasureRequest
from service.schemas import ErasureRequestView, NewErasureRequest


def wanted(body: NewErasureRequest) -> NewRequest:
    """What a body asks for."""
    return NewRequest(
        model=body.model,
        subject_id=body.subject_id,
        sample_ids=tuple(body.sample_ids or ()),
        external_id=body.external_id,
        regulation=body.regulation,
        callback_url=body.callback_url,
        strategy=body.strategy,
    )


def writer(model: str) -> Callable[[ErasureRequest, list[str]], str]:
    """How requests for this model are answered, and kept for when they are posted again."""

    def write(request: ErasureRequest, job_ids: list[str]) -> str:
        return ErasureRequestView.of(RequestFacts(request, model, job_ids)).model_dump_json()

    return write


def written(done: Submitted, model: str) -> str:
    """The answer: as it was first given, or new."""
    return done.replayed or writer(model)(done.request, done.job_ids)
