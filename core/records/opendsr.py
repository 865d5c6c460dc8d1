"""Requests as they come by OpenDSR: each may be several erasure requests."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class OpenDsrRequest(Base):
    """What a controller asked for by OpenDSR. Its identities and its body are not kept."""

    __tablename__ = "opendsr_requests"
    __table_args__ = (UniqueConstraint("key_id", "subject_request_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    """The controller: who holds this key."""
    subject_request_id: Mapped[str] = mapped_column(String(36))
    """The controller's own number."""
    body_digest: Mapped[str] = mapped_column(String(64))
    """Keyed: tells the same body from another."""
    version: Mapped[str] = mapped_column(String(10))  # 1.0, 2.0
    domain: Mapped[str] = mapped_column(String(255))
    regulation: Mapped[str | None] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(20))
    callback_urls: Mapped[list[str]]
    uncovered: Mapped[list[str]]
    """Data sets that have the subject and that no model was trained on."""
    submitted_at: Mapped[datetime]
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
