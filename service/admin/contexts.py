"""What each template gets, besides `me`, the visitor: tests hold them to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from core.facts import JobFacts
from core.figures import Standing
from service.admin.listing import Listing


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
class Overview:
    """What needs somebody, and what goes on."""

    template: ClassVar[str] = "overview.html"
    standing: Standing


@dataclass(frozen=True)
class JobList:
    """A page of jobs."""

    template: ClassVar[str] = "jobs.html"
    jobs: Sequence[JobFacts]
    listing: Listing
    now: datetime


@dataclass(frozen=True)
class Job:
    """One job."""

    template: ClassVar[str] = "job.html"
    found: JobFacts
    now: datetime
