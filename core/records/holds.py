"""Legal holds: what may not be erased, and until when."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class LegalHold(Base):
    """Samples of one person, or samples named, that must be kept. The person is a keyed hash."""

    __tablename__ = "legal_holds"
    __table_args__ = (Index("ix_legal_holds_dataset_id_released_at", "dataset_id", "released_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    """The model that was named; the hold is on its data set."""
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    subject_hash: Mapped[str | None] = mapped_column(String(64))
    """Keyed hash of the raw identifier; none where samples were named."""
    subject_id: Mapped[int | None] = mapped_column(BigInteger)
    sample_count: Mapped[int]
    """When it was placed."""
    reason: Mapped[str] = mapped_column(Text)
    release_reason: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[str | None] = mapped_column(String(40))
    placed_at: Mapped[datetime]
    released_at: Mapped[datetime | None]


class HeldSample(Base):
    """A sample that a hold names, by its key in the sample store, and whose it is."""

    __tablename__ = "held_samples"

    hold_id: Mapped[str] = mapped_column(ForeignKey("legal_holds.id"), primary_key=True)
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    subject_id: Mapped[int] = mapped_column(BigInteger, index=True)
