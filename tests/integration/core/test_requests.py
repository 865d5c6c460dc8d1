"""Requests extended, due, listed, and their certificates."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import requests
from core.backend import Backend
from core.errors import Conflict, Invalid, NotFound
from tests.factories import submit, with_model
from tests.integration.core.helpers import end, events_of, job_of, request_of


def test_an_extension_moves_the_request_and_its_jobs(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    later = done.request.due_at + timedelta(days=60)
    with backend.db.transaction() as tx:
        requests.extend(tx, done.request.id, later, "many requests")
    assert request_of(backend, done.request.id).due_at == later
    job = job_of(backend, done.job_ids[0])
    assert (job.due_at, job.revision) == (later, 2)
    assert events_of(backend, "erasure_request", done.request.id)[-1] == "extended"


def test_an_extension_never_brings_the_date_forward(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    for due in (done.request.due_at, done.request.received_at):
        with pytest.raises(Invalid, match="must lie after"), backend.db.transaction() as tx:
            requests.extend(tx, done.request.id, due, "why")


def test_nothing_is_due_once_a_request_has_ended(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    end(backend, done.request.id)
    later = done.request.due_at + timedelta(days=1)
    with pytest.raises(Conflict, match="nothing is due"), backend.db.transaction() as tx:
        requests.extend(tx, done.request.id, later, "why")
    with pytest.raises(NotFound, match="er_x"), backend.db.transaction() as tx:
        requests.extend(tx, "er_x", later, "why")


def test_a_certificate_comes_with_completion_only(backend: Backend) -> None:
    with_model(backend)
    done = submit(backend)
    with backend.db.reading() as session:
        with pytest.raises(Conflict, match="is scheduled; its certificate"):
            requests.certificate_of(session, done.request.id)
        with pytest.raises(NotFound, match="er_x"):
            requests.certificate_of(session, "er_x")


def test_requests_are_listed_newest_first_in_pages(backend: Backend) -> None:
    model = with_model(backend)
    ids = [submit(backend, f"subject-{i}").request.id for i in range(3)]
    ids.append(submit(backend, "nobody").request.id)
    ids.sort(reverse=True)
    now = request_of(backend, ids[0]).received_at
    with backend.db.reading() as session:

        def found(**filters: object) -> list[str]:
            return [r.id for r in requests.listed(session, **filters)]  # type: ignore[arg-type]

        assert found() == ids
        assert found(limit=2) + found(after=ids[1]) == ids
        assert len(found(status="scheduled", model=model.name)) == 3
        assert found(overdue_at=now) == []
        assert len(found(overdue_at=now + timedelta(days=40))) == 3, "completed ones owe nothing"
        with pytest.raises(Invalid, match="unknown status 'x'; use received"):
            found(status="x")
        with pytest.raises(NotFound, match="no model"):
            found(model="none")
