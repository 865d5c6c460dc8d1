"""What the service answers, typed. Fields that are newer than this client are kept as extras."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def plain(self) -> dict[str, Any]:
        """The answer in JSON's own types."""
        return self.model_dump(mode="json")


class ErasureRequest(Answer):
    """An erasure request; `job_ids` name the jobs that carry it out."""

    id: str
    status: str
    model: str | None = None
    job_id: str | None = None
    job_ids: list[str] = []
    outcome: str | None = None
    sample_count: int | None = None
    received_at: datetime
    due_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Is there nothing more to wait for?"""
        return self.status in ("completed", "rejected", "cancelled", "needs_review")


class Progress(Answer):
    """Where a job stands."""

    phase: str = "queued"
    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    forget_loss: float | None = None
    remember_loss: float | None = None
    alpha: float | None = None


class Job(Answer):
    """A job: one model forgets."""

    id: str
    status: str
    model: str | None = None
    progress: Progress = Progress()
    attempts: int = 0
    verification: dict[str, Any] | None = None
    error: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    published_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Will this job change no more by itself?"""
        return self.status in ("succeeded", "failed", "cancelled", "needs_review")


class Version(Answer):
    """One checkpoint of a model."""

    version: int
    digest: str
    state: str
    parent: int | None = None
    tainted_by: list[str] = []


class Model(Answer):
    """A model and what it serves."""

    name: str
    dataset: str | None = None
    policy: dict[str, Any] = {}
    policy_deviations: list[dict[str, Any]] = []


class Prediction(Answer):
    """One input's answer."""

    label: str
    probability: float
    probabilities: list[float]
    uncertainty: float | None = None


class Predictions(Answer):
    """What a model answered, and which version of it."""

    model: str
    version: int
    predictions: list[Prediction]


class Page(Answer):
    """A page of a list; `next` is the cursor of the page after it."""

    items: list[dict[str, Any]]
    next: str | None = None
