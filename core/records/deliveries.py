"""Callbacks: what is to be told to whom, every attempt to tell it, and whose secret signs it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class Delivery(Base):
    """One message to one address: sent again until it is taken, then given up. Its id is the
    receiver's proof against doubles; its payload never changes.
    """

    __tablename__ = "deliveries"
    __table_args__ = (Index("ix_deliveries_state_next_at", "state", "next_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    request_id: Mapped[str | None] = mapped_column(ForeignKey("erasure_requests.id"), index=True)
    opendsr_id: Mapped[str | None] = mapped_column(ForeignKey("opendsr_requests.id"), index=True)
    """What it is about: one of the two."""
    form: Mapped[str] = mapped_column(String(20))
    """How it is signed: standard-webhooks, opendsr/1, opendsr/2."""
    event: Mapped[str] = mapped_column(String(50))
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(20))
    tries: Mapped[int] = mapped_column(default=0)
    """Attempts since it was last replayed: how long the next pause is."""
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    """Not before; while an attempt is under way, when it counts as lost."""
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class DeliveryAttempt(Base):
    """One attempt. Written before it is made: without an end, nobody knows whether it arrived."""

    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    status: Mapped[int | None]
    """The receiver's HTTP status, where it answered."""
    error: Mapped[str | None] = mapped_column(Text)


class WebhookSecret(Base):
    """Which of a key's signing secrets is in force. They are derived, and stored nowhere; see
    core.webhooks. No row: the first.
    """

    __tablename__ = "webhook_secrets"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    generation: Mapped[int]
    rotated_at: Mapped[datetime]
