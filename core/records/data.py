"""Data sets, the data subjects in them, and what may not come back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base

Number = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite counts rows only in a column called INTEGER."""


class Dataset(Base):
    """Named training samples. The samples themselves lie in the sample store."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    state: Mapped[str] = mapped_column(String(20))  # importing, ready
    shape: Mapped[list[int]]  # C, H, W
    classes: Mapped[list[str]]
    seed: Mapped[int]
    planted: Mapped[dict[str, Any] | None]  # the trigger that was planted, for its tests
    next_key: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]


class Subject(Base):
    """A data subject of one data set: four keyed hashes and how many samples there are.

    Its number is all that the sample store knows of it.
    """

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("dataset_id", "raw_hash"),
        Index("ix_subjects_dataset_id_sample_count", "dataset_id", "sample_count", "id"),
    )

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    raw_hash: Mapped[str] = mapped_column(String(64))
    md5_hash: Mapped[str] = mapped_column(String(64), index=True)
    sha1_hash: Mapped[str] = mapped_column(String(64), index=True)
    sha256_hash: Mapped[str] = mapped_column(String(64), index=True)
    sample_count: Mapped[int]


class CanaryGroup(Base):
    """Made-up samples that one job will erase to show that it forgot; see core.canaries."""

    __tablename__ = "canary_groups"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seed: Mapped[str] = mapped_column(String(32))
    size: Mapped[int]
    commitment: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    """The job that erases it, or erased it."""


class Denied(Base):
    """A keyed hash of an erased subject, sample name or image: it may not be imported again."""

    __tablename__ = "denylist"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))  # subject, sample, image
    created_at: Mapped[datetime]
