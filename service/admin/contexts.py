"""What each template gets, besides `me`, the visitor: tests hold them to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

from core.facts import JobFacts, RequestFacts
from core.overview import Sight, Week
from core.plots import Run
from core.records import AuditEvent, Delivery, DeliveryAttempt
from service.admin.graphs import Bar, Histogram, Interval
from service.admin.listing import Listing
from service.pages.evidence import Measure


@dataclass(frozen=True)
class Refusal:
    """What was refused, and why."""

    template: ClassVar[str] = "refusal.html"
    status: int
    title: str
    detail: str
    request_id: str


@dataclass(frozen=True)
class SignIn:
    """Asks for a key. then: the page to see after it; wrong: why the last try failed."""

    template: ClassVar[str] = "sign_in.html"
    then: str
    wrong: str | None


@dataclass(frozen=True)
class OverviewPart:
    """What of the overview changes by itself. soon_days: how near a due date is soon."""

    template: ClassVar[str] = "_overview.html"
    sight: Sight
    soon_days: float


@dataclass(frozen=True)
class Overview(OverviewPart):
    """What needs somebody, what goes on, and the last weeks."""

    template: ClassVar[str] = "overview.html"
    weeks: Sequence[Week]
    erased: Sequence[Bar]
    took: Sequence[Bar]


@dataclass(frozen=True)
class RequestList:
    """A page of erasure requests. by_subject: they were looked for by whose they are."""

    template: ClassVar[str] = "requests.html"
    requests: Sequence[RequestFacts]
    listing: Listing
    external_id: str
    by_subject: bool
    now: datetime


@dataclass(frozen=True)
class CertificateFacts:
    """holds: does the signature? said: by which key, or what is wrong."""

    holds: bool
    said: str
    outcome: str
    issued_by: str


@dataclass(frozen=True)
class Request:
    """One erasure request. classes: samples that are still there, by class. decidable: of
    cancel, extend and reject, what its state allows. latest: a new due date lies after it.
    deliveries: its callbacks, newest first, each with its attempts. refusals: why it may be
    refused, with what is said of it. reply: the answer to the person."""

    template: ClassVar[str] = "request.html"
    found: RequestFacts
    now: datetime
    jobs: Sequence[JobFacts]
    classes: Mapping[str, int]
    history: Sequence[AuditEvent]
    certificate: CertificateFacts | None
    deliveries: Sequence[tuple[Delivery, Sequence[DeliveryAttempt]]]
    decidable: Set[str]
    ending: str
    refusals: Mapping[str, str]
    reply: str
    latest: date


@dataclass(frozen=True)
class Bulk:
    """An action on many requests, to be confirmed. label: the action in words."""

    template: ClassVar[str] = "bulk.html"
    action: str
    label: str
    requests: Sequence[RequestFacts]
    refusals: Mapping[str, str]
    now: datetime


@dataclass(frozen=True)
class JobList:
    """A page of jobs."""

    template: ClassVar[str] = "jobs.html"
    jobs: Sequence[JobFacts]
    listing: Listing
    now: datetime


@dataclass(frozen=True)
class GateRow:
    """One test of a verification, its interval drawn against its bounds."""

    gate: Mapping[str, Any]
    interval: Interval
    allowed: str


@dataclass(frozen=True)
class Job:
    """One job. run: its latest one. retrained: was an exact retraining measured beside it?

    decidable: of approve, reject, retry and cancel, what its state allows. ending: what is
    typed to confirm.
    """

    template: ClassVar[str] = "job.html"
    found: JobFacts
    now: datetime
    requests: Sequence[RequestFacts]
    run: Run | None
    gates: Sequence[GateRow]
    meaning: str | None
    tried: str | None
    measures: Sequence[Measure]
    retrained: bool
    histograms: Sequence[tuple[Histogram, Histogram]]
    history: Sequence[AuditEvent]
    decidable: Set[str]
    ending: str
