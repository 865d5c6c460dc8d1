"""A database as it is after years: many requests, jobs, versions and events, by COPY.

One real job is run first; what it measured, and the certificate it led to, are what every other
job and certificate of the scene says, so that rows are as wide as they really are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Json, Jsonb
from sqlalchemy import JSON, Table

from core import audit, drift
from core.db import Base
from core.records import (
    AuditEvent,
    Certificate,
    ErasureRequest,
    Job,
    JobPlot,
    JobRequest,
    Taint,
    Version,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What a real job left: columns of its row, of its plots, and the certificate's text."""

    job: Row
    plot: Row
    certificate: str


@dataclass(frozen=True)
class Plan:
    """How many of what, of which data set and models, up to when.

    models: for each, its id and the id of the version it began with.
    """

    requests: int
    jobs: int
    dataset_id: str
    models: list[tuple[str, str]]
    now: datetime
    sample: Sample


def fill(url: str, plan: Plan) -> dict[str, int]:
    """Fill a migrated database; returns how many rows each table got."""
    with psycopg.connect(url) as connection:
        head = connection.execute("SELECT seq, hash FROM audit_head").fetchone()
        assert head is not None, "importing a data set is an event"
        made = {
            "versions": _copy(connection, Version, _versions(plan)),
            "jobs": _copy(connection, Job, _jobs(plan)),
            "job_plots": _copy(connection, JobPlot, _plots(plan)),
            "erasure_requests": _copy(connection, ErasureRequest, _requests(plan)),
            "job_requests": _copy(connection, JobRequest, _links(plan)),
            "taints": _copy(connection, Taint, _taints(plan)),
            "certificates": _copy(connection, Certificate, _certificates(plan)),
        }
        chained = list(_chained(plan, *head))
        made["audit_events"] = _copy(connection, AuditEvent, chained)
        last = chained[-1]
        head = last["seq"], last["hash"]
        connection.execute("UPDATE audit_head SET seq = %s, hash = %s", head)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as autovacuum does in time
    return made


def _copy(connection: psycopg.Connection[Any], record: type[Base], rows: Iterable[Row]) -> int:
    table = record.__table__
    assert isinstance(table, Table)
    names = [column.name for column in table.columns]
    defaults = {
        column.name: column.default.arg  # type: ignore[attr-defined]  # scalars, all of them
        for column in table.columns
        if column.default is not None
    }
    wraps = {
        column.name: Json if type(column.type) is JSON else Jsonb
        for column in table.columns
        if isinstance(column.type, JSON)
    }
    # `Json` of core.db is JSON with a variant: jsonb on PostgreSQL, but for the chain's data.
    plain = {"data"} if record is AuditEvent else set()
    count = 0
    with connection.cursor().copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            values = []
            for name in names:
                value = row.get(name, defaults.get(name))
                if name in wraps and value is not None:
                    value = Json(value) if name in plain else Jsonb(value)
                values.append(value)
            copy.write_row(values)
            count += 1
    return count


def id_of(kind: str, number: int) -> str:
    """The id of the request, job or version with this number."""
    return f"{kind}_{number:026}"


def _when(plan: Plan, number: int, of: int) -> datetime:
    """Two years, evenly."""
    return plan.now - timedelta(days=730) * (1 - number / of)


def _state(plan: Plan, number: int) -> str:
    """Of a job: the last 3 in 100 are not over, of older ones a few failed or wait for somebody."""
    left = plan.jobs - number
    if left <= len(plan.models):
        return "running"
    if left <= plan.jobs // 40:
        return "queued"
    if number % 97 == 0:
        return "failed" if number % 2 else "needs_review"
    return "succeeded"


_REQUEST = {
    "running": "in_progress",
    "queued": "scheduled",
    "failed": "needs_review",
    "needs_review": "needs_review",
    "succeeded": "completed",
}


def _model(plan: Plan, job: int) -> tuple[str, str]:
    return plan.models[job % len(plan.models)]


def _job_of(plan: Plan, request: int) -> int:
    return request * plan.jobs // plan.requests


def _jobs(plan: Plan) -> Iterator[Row]:
    for number in range(plan.jobs):
        state, at = _state(plan, number), _when(plan, number, plan.jobs)
        ended = state == "succeeded"
        begun = state != "queued"
        row = {
            **plan.sample.job,
            "id": id_of("job", number),
            "model_id": _model(plan, number)[0],
            "state": state,
            "seed": number,
            "queued_at": at,
            "not_before": at,
            "due_at": at + timedelta(days=30),
            "started_at": at + timedelta(seconds=2) if begun else None,
            "published_at": at + timedelta(seconds=40) if ended else None,
            "finished_at": at + timedelta(seconds=50) if ended or state == "failed" else None,
            "base_version_id": _model(plan, number)[1],
            "result_version_id": id_of("ver", number) if ended else None,
            "owner": "bench:1" if state == "running" else None,
            "lease_until": plan.now + timedelta(days=1) if state == "running" else None,
        }
        if not ended:
            row |= {"destruction": None}
        if not begun:
            row |= {"verification": None, "candidate": None}
        yield row


def _plots(plan: Plan) -> Iterator[Row]:
    for number in range(plan.jobs):
        if _state(plan, number) != "queued":
            yield {**plan.sample.plot, "job_id": id_of("job", number)}


def _versions(plan: Plan) -> Iterator[Row]:
    """A child of the version before for each job that ended; the last twenty are kept."""
    digests = iter(range(10**9))
    last = {model_id: (base, 1) for model_id, base in plan.models}
    accounts = {
        model_id: drift.opened(trained=60_000, below=60_000, at=plan.now - timedelta(days=730))
        for model_id, _ in plan.models
    }
    done = [number for number in range(plan.jobs) if _state(plan, number) == "succeeded"]
    newest = {_model(plan, number)[0]: number for number in done}
    kept = set(done[-20 * len(plan.models) :])
    for number in done:
        model_id, _ = _model(plan, number)
        parent, count = last[model_id]
        last[model_id] = (id_of("ver", number), count + 1)
        accounts[model_id] = drift.charged(accounts[model_id], erased=1, lost=0.000001)
        at = _when(plan, number, plan.jobs)
        state = "retired" if number in kept else "destroyed"
        if newest[model_id] == number:
            state = "serving"
        yield {
            "id": id_of("ver", number),
            "model_id": model_id,
            "number": count + 1,
            "digest": f"{next(digests):064x}",
            "parent_id": parent,
            "job_id": id_of("job", number),
            "state": state,
            "metrics": {
                "test_accuracy": 0.97 - 0.00001 * (number % 700),
                "heldout_accuracy": 0.968 - 0.00001 * (number % 900),
                "drift": accounts[model_id],
            },
            "created_at": at,
            "published_at": at + timedelta(seconds=40),
            "destroyed_at": at + timedelta(days=1) if state == "destroyed" else None,
        }


def _requests(plan: Plan) -> Iterator[Row]:
    for number in range(plan.requests):
        job = _job_of(plan, number)
        state, at = _REQUEST[_state(plan, job)], _when(plan, number, plan.requests)
        ended = state == "completed"
        if number % 211 == 0:
            state = "cancelled" if number % 2 else "rejected"
        yield {
            "id": id_of("er", number),
            "model_id": _model(plan, job)[0],
            "dataset_id": plan.dataset_id,
            "state": state,
            "subject_id": 10_000_000 + number,
            "subject_hash": f"{number:064x}",
            "commitment": f"{number:064x}",
            "sample_count": 1 + number % 12,
            "external_id": f"ticket-{number}",
            "regulation": "GDPR",
            "outcome": "erased" if ended else state if state in ("cancelled", "rejected") else None,
            "reason": "by mistake" if state in ("cancelled", "rejected") else None,
            "received_at": at,
            "due_at": at + timedelta(days=30),
            "completed_at": at + timedelta(hours=1 + number % 50)
            if ended or state in ("cancelled", "rejected")
            else None,
        }


def _links(plan: Plan) -> Iterator[Row]:
    for number in range(plan.requests):
        yield {"job_id": id_of("job", _job_of(plan, number)), "request_id": id_of("er", number)}


def _taints(plan: Plan) -> Iterator[Row]:
    """What is served remembers what is not carried out yet."""
    done = [number for number in range(plan.jobs) if _state(plan, number) == "succeeded"]
    newest = {_model(plan, number)[0]: id_of("ver", number) for number in done}
    for number in range(plan.requests):
        job = _job_of(plan, number)
        if _state(plan, job) in ("queued", "running"):
            yield {"version_id": newest[_model(plan, job)[0]], "request_id": id_of("er", number)}


def _certificates(plan: Plan) -> Iterator[Row]:
    for number in range(plan.requests):
        if _state(plan, _job_of(plan, number)) == "succeeded" and number % 211:
            yield {
                "request_id": id_of("er", number),
                "document": plan.sample.certificate,
                "created_at": _when(plan, number, plan.requests),
            }


def _chained(plan: Plan, seq: int, previous: str) -> Iterator[Row]:
    for at, noun, noun_id, event, data in _events(plan):
        seq += 1
        digest = audit.event_hash(previous, seq, at, noun, noun_id, event, data)
        yield {
            "seq": seq,
            "at": at,
            "noun": noun,
            "noun_id": noun_id,
            "event": event,
            "data": data,
            "previous": previous,
            "hash": digest,
        }
        previous = digest


def _events(plan: Plan) -> Iterator[tuple[datetime, str, str, str, Row]]:
    """Three of each request, five of each job: fewer than a real one has, of the same kinds."""
    job = -1
    for number in range(plan.requests):
        at = _when(plan, number, plan.requests)
        if _job_of(plan, number) != job:
            job = _job_of(plan, number)
            job_id, model_id = id_of("job", job), _model(plan, job)[0]
            yield at, "job", job_id, "queued", {"model": model_id, "strategy": "rfu_ss"}
            for before, after in (
                ("queued", "running"), ("running", "verifying"), ("verifying", "publishing"),
                ("destroying", "succeeded"),
            ):  # fmt: skip
                yield at, "job", job_id, "moved", {"from": before, "to": after}
        request_id = id_of("er", number)
        yield at, "erasure_request", request_id, "received", {"model": _model(plan, job)[0]}
        yield at, "erasure_request", request_id, "moved", {"from": "received", "to": "scheduled"}
        yield at, "erasure_request", request_id, "moved", {"from": "scheduled", "to": "completed"}


def sample_of(job: Job, plot: JobPlot, certificate: str) -> Sample:
    """What is kept of a real job."""
    kept = ("kind", "strategy", "progress", "candidate", "verification", "destruction")
    row = {name: getattr(job, name) for name in kept}
    row |= {"revision": 40, "attempts": 1, "takeovers": 0, "rung": 0, "fence": 1}
    row |= {"cancel_requested": False, "audit_retrain": False}
    plots = {"curves": plot.curves, "scores": plot.scores}
    return Sample(json.loads(json.dumps(row)), plots, certificate)
