"""Models, their immutable versions, what these remember, and who serves them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class Model(Base):
    """A name, an architecture and how it is trained. One version of it serves."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    architecture: Mapped[dict[str, Any]]
    training: Mapped[dict[str, Any]]
    policy: Mapped[dict[str, Any]]
    costs: Mapped[dict[str, Any] | None]
    """What its jobs took lately: seconds by kind (erase, retrain), memory_mb; see core.demands."""
    audit_next: Mapped[bool] = mapped_column(Boolean, default=False)
    """Run an exact retraining beside the next job and record its distance."""
    created_at: Mapped[datetime]


class Version(Base):
    """One checkpoint of a model. Its file is named by `digest`."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        Index(
            "uq_versions_serving",
            "model_id",
            unique=True,
            sqlite_where=text("state = 'serving'"),
            postgresql_where=text("state = 'serving'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    destroyed_at: Mapped[datetime | None]


class Taint(Base):
    """This version still remembers what that request wants forgotten."""

    __tablename__ = "taints"

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(
        ForeignKey("erasure_requests.id"), primary_key=True, index=True
    )


class Teacher(Base):
    """The teacher made from a data set's references, for one architecture.

    Stale once a reference sample is erased: then it is destroyed and made again.
    """

    __tablename__ = "teachers"
    __table_args__ = (UniqueConstraint("model_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class Replica(Base):
    """An inference process: which digest it serves of each model, until when it may."""

    __tablename__ = "replicas"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    serving: Mapped[dict[str, Any]]  # model id -> {"digest", "version", "error"}
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime] = mapped_column(index=True)
