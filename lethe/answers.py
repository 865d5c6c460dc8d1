"""What the service answers, typed. Fields that are newer than this client are kept as extras."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(
        extra="allow", frozen=True, serialize_by_alias=True, validate_by_name=True
    )

    def plain(self) -> dict[str, Any]:
        """The answer in JSON's own types."""
        return self.model_dump(mode="json")


class Problem(Answer):
    """Why something was refused (RFC 9457); `code` is stable."""

    status: int
    code: str
    title: str = ""
    detail: str = ""
    type: str = "about:blank"
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class ErasureRequest(Answer):
    """An erasure request; `job_ids` name the jobs that carry it out."""

    id: str
    status: str
    model: str | None = None
    external_id: str | None = None
    regulation: str | None = None
    strategy: str | None = None
    callback_url: str | None = None
    job_id: str | None = None
    job_ids: list[str] = []
    outcome: str | None = None
    reason: str | None = None
    refusal: str | None = None
    sample_count: int | None = None
    received_at: datetime
    due_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Is there nothing more to wait for?"""
        return self.status in ("completed", "rejected", "cancelled", "needs_review")


class Transition(Answer):
    """One event in a request's history."""

    at: datetime
    event: str
    from_: Annotated[str | None, Field(alias="from")] = None
    to: str | None = None
    reason: str | None = None
    refusal: str | None = None
    due_at: datetime | None = None


class ErasureRequestDetail(ErasureRequest):
    """An erasure request, how its certificate names the subject, and its history."""

    commitment: str | None = None
    commitment_salt: str | None = None
    history: list[Transition] = []


class LegalHold(Answer):
    """What is kept from being erased, and why."""

    id: str
    model: str
    of_subject: bool
    sample_count: int
    reason: str
    placed_at: datetime
    released_at: datetime | None = None
    release_reason: str | None = None


class BulkResult(Answer):
    """What became of one of many: the request, or the problem."""

    index: int
    status: int
    id: str | None = None
    request: ErasureRequest | None = None
    problem: Problem | None = None


class BulkAnswer(Answer):
    """A result for each of many, in their order."""

    accepted: int
    refused: int
    items: list[BulkResult]


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
    kind: str | None = None
    model: str | None = None
    strategy: str | None = None
    request_ids: list[str] = []
    revision: int | None = None
    progress: Progress = Progress()
    attempts: int = 0
    base_version: int | None = None
    result_version: int | None = None
    verification: dict[str, Any] | None = None
    destruction: dict[str, Any] | None = None
    error: str | None = None
    cancel_requested: bool = False
    due_at: datetime | None = None
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
    job_id: str | None = None
    tainted_by: list[str] = []
    metrics: dict[str, Any] = {}
    served_by: list[str] = []
    created_at: datetime | None = None
    published_at: datetime | None = None
    destroyed_at: datetime | None = None


class Serving(Answer):
    """The version that every replica should serve."""

    version: int
    digest: str
    published_at: datetime | None = None


class Replica(Answer):
    """What a live inference process serves of a model."""

    id: str
    host: str
    pid: int
    version: int | None = None
    digest: str | None = None
    error: str | None = None
    lease_until: datetime | None = None


class Drift(Answer):
    """What is left before the model is retrained exactly."""

    since: datetime
    limits: dict[str, float] = {}
    used: dict[str, float] = {}
    left: dict[str, float] = {}


class Canaries(Answer):
    """Groups of canaries in the model's data set; each job spends one."""

    groups: int
    size: int
    spent: int
    left: int


class Model(Answer):
    """A model and what it serves."""

    name: str
    dataset: str | None = None
    classes: list[str] = []
    shape: list[int] = []
    architecture: dict[str, Any] = {}
    training: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    policy_deviations: list[dict[str, Any]] = []
    canaries: Canaries | None = None
    created_at: datetime | None = None
    serving: Serving | None = None
    drift: Drift | None = None
    replicas: list[Replica] = []


class Prediction(Answer):
    """One input's answer."""

    label: str
    probability: float
    probabilities: list[float]
    uncertainty: float | None = None
    mutual_information: float | None = None


class Predictions(Answer):
    """What a model answered, and which version of it."""

    model: str
    version: int
    digest: str | None = None
    predictions: list[Prediction]


class Key(Answer):
    """An API key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    model: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    previous_until: datetime | None = None


class MadeKey(Key):
    """A key that was just made; `key` is its text, shown this once."""

    key: str


class DeliveryAttempt(Answer):
    """One attempt to deliver."""

    number: int
    at: datetime
    ended_at: datetime | None = None
    status: int | None = None
    error: str | None = None


class Delivery(Answer):
    """A message to a receiver, and every attempt to deliver it."""

    id: str
    erasure_request_id: str | None = None
    opendsr_request_id: str | None = None
    form: str
    event: str
    url: str
    status: str
    created_at: datetime
    next_attempt_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: list[DeliveryAttempt] = []


class WebhookSecret(Answer):
    """What signs the callbacks of requests that were posted with a key."""

    key_id: str
    secret: str


class StatusLink(Answer):
    """A data subject's link to a request, and its code: shown this once."""

    url: str
    code: str


class Check(Answer):
    """One part that readiness needs."""

    ok: bool
    detail: str


class Readiness(Answer):
    """What a process says of itself and of the whole."""

    status: str
    checks: dict[str, Check] = {}
    workers: int | None = None
    waiting: int | None = None
    overdue: int | None = None
    warnings: list[str] = []
    models: dict[str, Any] = {}


class Page(Answer):
    """A page of a list; `next` is the cursor of the page after it."""

    items: list[dict[str, Any]]
    next: str | None = None
