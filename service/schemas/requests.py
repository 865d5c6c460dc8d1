"""Erasure requests on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from core import refusals
from core.facts import RequestFacts
from core.records import AuditEvent
from service.schemas.common import Because, HttpUrl, In, Moment, Name, Out, SampleId, text


class NewErasureRequest(In):
    """Whose samples a model must forget: those of one subject, or the samples named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "mnist", "subject_id": "subject-42", "external_id": "ticket-7"},
                {"model": "mnist", "sample_ids": ["train/00042", "train/00043"]},
            ]
        },
    )
    model: Name
    subject_id: Annotated[
        str | None,
        text(1000),
        Field(description="Used once, to find the samples; only keyed hashes of it are kept."),
    ] = None
    sample_ids: Annotated[list[SampleId] | None, Field(min_length=1, max_length=100_000)] = None
    external_id: Annotated[
        str | None, text(200), Field(description="Your own reference. Do not name the person.")
    ] = None
    regulation: Annotated[str | None, text(50), Field(description="Such as gdpr or ccpa.")] = None
    callback_url: Annotated[
        HttpUrl | None,
        Field(description="Told of every change of status: see the guide on callbacks."),
    ] = None
    strategy: Annotated[
        str | None, text(50), Field(description="How to unlearn; rfu_ss when not given.")
    ] = None


class Rejection(Because):
    """A refusal: why, in words and as programs know it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"reason": "no proof of identity", "refusal": "insuf_verification"}
        },
    )
    refusal: Annotated[
        str,
        Field(max_length=40, description=f"One of {', '.join(refusals.REASONS)}."),
    ] = refusals.OTHER


class Extension(Because):
    """A later due date and the reason for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"due_at": "2026-12-24T12:00:00Z", "reason": "complex request"}
        },
    )
    due_at: Moment


class Transition(Out):
    """One event in a request's history."""

    at: Moment
    event: str
    from_: Annotated[str | None, Field(alias="from")]
    to: str | None
    reason: str | None
    refusal: str | None
    due_at: str | None

    @classmethod
    def of(cls, event: AuditEvent) -> Transition:
        """From the audit chain."""
        data = event.data
        return cls(
            at=event.at,
            event=event.event,
            from_=data.get("from"),
            to=data.get("to"),
            reason=data.get("reason"),
            refusal=data.get("refusal"),
            due_at=data.get("due_at"),
        )


class ErasureRequestView(Out):
    """An erasure request."""

    id: str
    status: str
    model: str
    external_id: str | None
    regulation: str | None
    strategy: str | None
    callback_url: str | None
    sample_count: int
    outcome: str | None
    reason: str | None
    refusal: Annotated[
        str | None,
        Field(description=f"Of a rejected one: {', '.join(refusals.REASONS)}."),
    ]
    job_id: Annotated[str | None, Field(description="The first of job_ids.")]
    job_ids: Annotated[list[str], Field(description="One for each model that must forget.")]
    received_at: Moment
    due_at: Moment
    completed_at: Moment | None

    @classmethod
    def fields(cls, facts: RequestFacts) -> dict[str, Any]:
        """The fields of every view of a request."""
        request = facts.request
        return {
            "id": request.id,
            "status": request.state,
            "model": facts.model,
            "external_id": request.external_id,
            "regulation": request.regulation,
            "strategy": request.strategy,
            "callback_url": request.callback_url,
            "sample_count": request.sample_count,
            "outcome": request.outcome,
            "reason": request.reason,
            "refusal": request.refusal,
            "job_id": facts.job_ids[0] if facts.job_ids else None,
            "job_ids": facts.job_ids,
            "received_at": request.received_at,
            "due_at": request.due_at,
            "completed_at": request.completed_at,
        }

    @classmethod
    def of(cls, facts: RequestFacts) -> ErasureRequestView:
        """As lists and answers to actions show it."""
        return cls(**cls.fields(facts))


class ErasureRequestDetail(ErasureRequestView):
    """An erasure request with its history."""

    commitment: Annotated[
        str | None, Field(description="How the certificate names the subject: see its opens_with.")
    ]
    commitment_salt: Annotated[
        str | None, Field(description="Opens the commitment; only for keys with scope erase.")
    ]
    history: list[Transition]

    @classmethod
    def with_history(
        cls, facts: RequestFacts, events: list[AuditEvent], salt: str | None
    ) -> ErasureRequestDetail:
        """As a single read shows it."""
        commitment = facts.request.commitment
        return cls(
            **cls.fields(facts),
            commitment=commitment,
            commitment_salt=salt if commitment else None,
            history=[Transition.of(event) for event in events],
        )


class ErasureRequestPage(Out):
    """Newest first."""

    items: list[ErasureRequestView]
    next: str | None


class MadeStatusLink(Out):
    """A data subject's link to a request, and its code: shown this once."""

    url: Annotated[str, Field(description="The page, with a secret in its address.")]
    code: Annotated[str, Field(description="What the page asks for: send it by another way.")]
