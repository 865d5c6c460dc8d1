"""What the tests of core ask again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any, TypeVar

from sqlalchemy import func, select, update

from core import audit, holding, jobs, requests
from core.backend import Backend
from core.db import Database
from core.holding import Held
from core.records import ErasureRequest, Job
from tests.factories import submit

T = TypeVar("T")


def opened(url: str) -> Database:
    """The database there, migrated or not."""
    return Database(url, chain=audit.chain)


def job_of(backend: Backend, job_id: str) -> Job:
    """The job as it is now."""
    with backend.db.reading() as session:
        return jobs.get(session, job_id)


def counted(backend: Backend, kind: type[Any]) -> int:
    """How many rows of this kind there are."""
    with backend.db.reading() as session:
        return session.scalar(select(func.count()).select_from(kind)) or 0


def request_of(backend: Backend, request_id: str) -> ErasureRequest:
    """The request as it is now."""
    with backend.db.reading() as session:
        return requests.get(session, request_id)


def end(backend: Backend, request_id: str, to: str = "cancelled") -> None:
    """End the request, as a person or an operator does."""
    with backend.db.transaction() as tx:
        requests.end(tx, request_id, to, "asked by the person")


def set_job(backend: Backend, job_id: str, **values: Any) -> None:
    """Set columns behind the use cases' back: what time, or a crash, would have done."""
    with backend.db.transaction() as tx:
        tx.session.execute(update(Job).where(Job.id == job_id).values(**values))


def expire(backend: Backend, held: Held) -> None:
    """Let the holder's lease run out."""
    with backend.db.transaction() as tx:
        past = tx.now - timedelta(seconds=1)
        tx.session.execute(update(Job).where(Job.id == held.job_id).values(lease_until=past))


def claimed(backend: Backend, owner: str = "worker-1") -> Held:
    """Claim the next job; there must be one."""
    held = holding.claim(backend.db, owner, backend.settings)
    assert held is not None
    return held


def submitted_job(backend: Backend, subject_id: str = "subject-0") -> str:
    """Submit a request for the usual model; returns its only job's id."""
    (job_id,) = submit(backend, subject_id).job_ids
    return job_id


def advance(backend: Backend, held: Held, states: Iterable[str], **values: Any) -> None:
    """Move a held job through these states."""
    for state in states:
        with backend.db.transaction() as tx:
            holding.advance(tx, held, state, **values)


def events_of(backend: Backend, noun: str, noun_id: str) -> list[str]:
    """Names of a thing's audit events; moves as "from->to"."""
    with backend.db.reading() as session:
        return [
            f"{e.data['from']}->{e.data['to']}" if e.event == "moved" else e.event
            for e in audit.history(session, noun, noun_id)
        ]


def at_once(*calls: Callable[[], T]) -> list[T | Exception]:
    """Run the calls in threads that start together; each one's result or error."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # the caller looks at it
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def settle(backend: Backend) -> None:
    """The chain must hold after whatever the test did."""
    with backend.db.reading() as session:
        report = audit.verify_chain(session)
    assert report.broken_at is None, report.reason
