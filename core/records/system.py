"""Keys, idempotency, leases, workers and the audit chain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class ApiKey(Base):
    """An API key. Only digests of its secrets are kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    """The one model that it is for; none: every model."""
    previous_digest: Mapped[str | None] = mapped_column(String(64))
    """Of the secret that was rotated out."""
    previous_until: Mapped[datetime | None]
    rotated_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Idempotency(Base):
    """The answer once given to an Idempotency-Key, and the digest of the body it answered."""

    __tablename__ = "idempotency"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    value: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(ForeignKey("erasure_requests.id"))
    answer: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)


class SecretState(Base):
    """Which secret the stored hashes are made with: one row, from the first rotation on."""

    __tablename__ = "secret_state"

    id: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(String(64))
    rotated_at: Mapped[datetime]


class Lease(Base):
    """A named lease: one holder at a time, such as the leader of `sweep`."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100))
    until: Mapped[datetime]


class Worker(Base):
    """A worker process that was alive when it last renewed its lease."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)  # its name in leases
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime]
    classes: Mapped[list[str] | None]
    """The classes that it serves; None: all. See core.demands."""
    memory_mb: Mapped[int | None]
    """What its jobs may take on its device; None: any."""


class Share(Base):
    """How far a tenant's work has got on the virtual time by which tenants are compared.

    The row without a tenant's name is that time itself; see core.turns.
    """

    __tablename__ = "shares"

    tenant: Mapped[str] = mapped_column(String(40), primary_key=True)
    finish: Mapped[float] = mapped_column(Double)


class AuditEvent(Base):
    """One link of the audit chain; see core.audit."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_noun_noun_id_seq", "noun", "noun_id", "seq"),
        Index("ix_audit_events_noun_seq", "noun", "seq"),
        Index("ix_audit_events_event_seq", "event", "seq"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    noun: Mapped[str] = mapped_column(String(30))
    noun_id: Mapped[str] = mapped_column(String(40))
    event: Mapped[str] = mapped_column(String(50))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As text also on PostgreSQL: jsonb would write 1e16 anew, and the hash would not hold."""
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The newest link: one row, whose lock makes writers take turns."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
