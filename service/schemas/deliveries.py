"""Callbacks and their attempts on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.records import Delivery, DeliveryAttempt
from service.schemas.common import Moment, Out


class DeliveryAttemptView(Out):
    """One attempt to deliver."""

    number: int
    at: Moment
    ended_at: Annotated[
        Moment | None,
        Field(description="null: under way, or the process that made it ended before it knew."),
    ]
    status: Annotated[int | None, Field(description="The receiver's HTTP status.")]
    error: Annotated[str | None, Field(description="Why there was no answer.")]

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> DeliveryAttemptView:
        """From the record."""
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class DeliveryView(Out):
    """A message to a receiver, and every attempt to deliver it."""

    id: Annotated[str, Field(description="Also the `webhook-id` of every attempt.")]
    erasure_request_id: Annotated[str | None, Field(description="null: it is OpenDSR's.")]
    opendsr_request_id: str | None
    form: Annotated[str, Field(description="How it is signed.")]
    event: str
    url: str
    status: Annotated[str, Field(description="pending, delivered or given_up.")]
    created_at: Moment
    next_attempt_at: Annotated[Moment | None, Field(description="While it is pending.")]
    ended_at: Moment | None
    attempts: list[DeliveryAttemptView]

    @classmethod
    def of(cls, delivery: Delivery, attempts: list[DeliveryAttempt]) -> DeliveryView:
        """From the records."""
        return cls(
            id=delivery.id,
            erasure_request_id=delivery.request_id,
            opendsr_request_id=delivery.opendsr_id,
            form=delivery.form,
            event=delivery.event,
            url=delivery.url,
            status=delivery.state,
            created_at=delivery.created_at,
            next_attempt_at=delivery.next_at if delivery.state == "pending" else None,
            ended_at=delivery.ended_at,
            attempts=[DeliveryAttemptView.of(each) for each in attempts],
        )


class DeliveryPage(Out):
    """Newest first."""

    items: list[DeliveryView]
    next: str | None


class WebhookSecretView(Out):
    """What signs the callbacks of requests that were posted with a key."""

    key_id: str
    secret: Annotated[str, Field(description="As libraries for Standard Webhooks take it.")]
