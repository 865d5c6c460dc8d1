"""Erasure requests, the jobs that carry them out, and the certificates at the end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base
from core.states import JOB_HELD

_HELD = text(f"state IN ({', '.join(repr(state) for state in JOB_HELD)})")
_QUEUED = text("state = 'queued'")


class ErasureRequest(Base):
    """What a person asked for. The person is kept only as keyed hashes."""

    __tablename__ = "erasure_requests"
    __table_args__ = (
        Index("ix_erasure_requests_state_due_at", "state", "due_at"),
        Index("ix_erasure_requests_dataset_id_outcome", "dataset_id", "outcome"),
        Index("ix_erasure_requests_state_id", "state", "id"),
        Index("ix_erasure_requests_due_at_id", "due_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    """The subject's number. No foreign key: the subject's row ends with its samples."""
    subject_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    """Keyed hash of the raw identifier."""
    commitment: Mapped[str | None] = mapped_column(String(64))
    """What the certificate says of the subject; see core.identities."""
    secret_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    """Of the secret that its commitment's salt is derived from."""
    sample_count: Mapped[int]
    external_id: Mapped[str | None] = mapped_column(String(200), index=True)
    regulation: Mapped[str | None] = mapped_column(String(50))
    strategy: Mapped[str | None] = mapped_column(String(50))
    callback_url: Mapped[str | None] = mapped_column(Text)
    opendsr_id: Mapped[str | None] = mapped_column(ForeignKey("opendsr_requests.id"), index=True)
    """The OpenDSR request that it is a part of."""
    outcome: Mapped[str | None] = mapped_column(String(50))
    reason: Mapped[str | None] = mapped_column(Text)
    refusal: Mapped[str | None] = mapped_column(String(40))
    """Why it was rejected, as programs know it; see core.refusals."""
    key_id: Mapped[str | None] = mapped_column(String(40))
    call_id: Mapped[str | None] = mapped_column(String(128))
    """X-Request-ID of the call that posted it: the worker's log lines carry it on."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """The span of that call (W3C Trace Context), where traces are kept."""
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    warned: Mapped[str | None] = mapped_column(String(10))  # soon, overdue
    """The last warning given about this due date."""
    completed_at: Mapped[datetime | None] = mapped_column(index=True)


class RequestSample(Base):
    """A sample that a request named itself, by its key in the sample store."""

    __tablename__ = "request_samples"

    request_id: Mapped[str] = mapped_column(ForeignKey("erasure_requests.id"), primary_key=True)
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class Job(Base):
    """One model forgets one or many requests, once. Held by lease and fencing number."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("uq_jobs_held", "model_id", unique=True, sqlite_where=_HELD, postgresql_where=_HELD),
        Index("ix_jobs_state_due_at", "state", "due_at"),
        Index("ix_jobs_state_id", "state", "id"),
        Index(
            "ix_jobs_queued",
            *("model_id", "kind", "due_at", "queued_at", "id"),
            sqlite_where=_QUEUED,
            postgresql_where=_QUEUED,
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))  # erase, retrain
    state: Mapped[str] = mapped_column(String(20))
    strategy: Mapped[str] = mapped_column(String(50))
    seed: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    """Counts every change of the row: the ETag, and what long-polls wait for."""
    progress: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(default=0)
    takeovers: Mapped[int] = mapped_column(default=0)
    """Leases lost: no failed attempts, but a job that fells every worker needs a person."""
    rung: Mapped[int] = mapped_column(default=0)
    """How far up the ladder of stronger runs this job has climbed."""
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    audit_retrain: Mapped[bool] = mapped_column(Boolean, default=False)
    owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    base_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    result_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    candidate: Mapped[dict[str, Any] | None]
    """Digest and figures of the checkpoint that is being verified or published."""
    verification: Mapped[dict[str, Any] | None]
    destruction: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    not_before: Mapped[datetime]
    due_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]
    """When a reviewer let it go on although it erases much; see core.limits."""
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobPlot(Base):
    """What a job's page draws of it; see core.plots."""

    __tablename__ = "job_plots"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    curves: Mapped[dict[str, Any]]
    scores: Mapped[dict[str, Any] | None]


class JobRequest(Base):
    """Which requests a job carries out."""

    __tablename__ = "job_requests"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(
        ForeignKey("erasure_requests.id"), primary_key=True, index=True
    )


class Certificate(Base):
    """The signed document of a completed request, as issued, byte for byte."""

    __tablename__ = "certificates"

    request_id: Mapped[str] = mapped_column(ForeignKey("erasure_requests.id"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class StatusLink(Base):
    """The way for a data subject to see where a request stands: keyed digests of its parts."""

    __tablename__ = "status_links"

    request_id: Mapped[str] = mapped_column(ForeignKey("erasure_requests.id"), primary_key=True)
    link_hash: Mapped[str] = mapped_column(String(64), unique=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    failed: Mapped[int] = mapped_column(default=0)
    """Wrong codes since the last right one; see core.status_links."""
    made_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    """When the right code was last given."""
