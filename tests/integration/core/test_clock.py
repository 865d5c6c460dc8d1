"""A wall clock that jumps by an hour: leases go by the database's, waits by a monotonic one."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import pytest

from core import db, holding
from core.backend import Backend
from core.errors import LeaseLost
from tests.factories import with_model
from tests.integration.core.helpers import claimed, job_of, submitted_job


def jump(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Move this host's wall clock, as `core.db` reads it."""

    class AnyDatetime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Jumped(metaclass=AnyDatetime):
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(db, "datetime", Jumped)


@pytest.mark.parametrize("hours", [-1.0, 1.0])
def test_a_hosts_clock_moves_no_lease_of_a_server(
    postgres_backend: Backend, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    backend = postgres_backend
    with_model(backend)
    submitted_job(backend)
    held = claimed(backend)
    before = job_of(backend, held.job_id).lease_until
    jump(monkeypatch, hours)
    assert holding.claim(backend.db, "worker-2", backend.settings) is None
    holding.heartbeat(backend.db, held, backend.settings.lease_seconds)
    after = job_of(backend, held.job_id).lease_until
    assert before is not None
    assert after is not None
    assert timedelta(0) <= after - before < timedelta(minutes=1)


def test_embedded_a_jump_ahead_costs_a_takeover_and_a_jump_back_nothing_once_renewed(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has no clock but the host's, which its one machine's processes share."""
    backend = sqlite_backend
    with_model(backend)
    submitted_job(backend)
    first = claimed(backend)
    with monkeypatch.context() as patch:
        jump(patch, 1.0)
        second = claimed(backend, "worker-2")
        assert (second.job_id, second.fence) == (first.job_id, first.fence + 1)
        with pytest.raises(LeaseLost):
            holding.heartbeat(backend.db, first, 30.0)
    # The clock is put right again: an hour back, seen from worker-2.
    holding.heartbeat(backend.db, second, backend.settings.lease_seconds)
    renewed = job_of(backend, second.job_id).lease_until
    with backend.db.transaction() as tx:
        assert renewed is not None
        assert renewed - tx.now < timedelta(seconds=backend.settings.lease_seconds + 1)
