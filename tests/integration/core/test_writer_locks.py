"""Leases in the database in place of flock: writers side by side, a clean-up alone."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from core import leases
from core._writer_locks import DatasetBusy, LeaseLock
from core.backend import Backend
from core.records import Lease


def lock(backend: Backend, seconds: float = 30.0) -> LeaseLock:
    return LeaseLock(backend.db, "ds_1", seconds)


def held(backend: Backend) -> list[str]:
    with backend.db.reading() as session:
        return [name.rpartition(":")[0] for name in session.scalars(select(Lease.name))]


def test_writers_write_side_by_side_and_keep_the_clean_up_out(backend: Backend) -> None:
    with ExitStack() as writing:
        for _ in range(2):
            writing.enter_context(lock(backend).shared())()
        with lock(backend).exclusive(0) as alone:
            assert not alone
        with LeaseLock(backend.db, "ds_2", 30.0).exclusive(0) as alone:
            assert alone, "another data set"
    with lock(backend).exclusive(0) as alone:
        assert alone
    assert held(backend) == []


def test_a_writer_waits_for_a_clean_up_and_a_clean_up_for_a_writer(backend: Backend) -> None:
    wrote, cleaned = threading.Event(), threading.Event()

    def write() -> None:
        with lock(backend).shared():
            wrote.set()
            assert not cleaned.wait(0.3)

    with lock(backend).exclusive(0) as alone:
        assert alone
        writer = threading.Thread(target=write)
        writer.start()
        assert not wrote.wait(0.3)
    assert wrote.wait(60)
    with lock(backend).exclusive(60) as alone:
        cleaned.set()
        assert alone
    writer.join()


def test_two_clean_ups_take_turns(backend: Backend) -> None:
    with lock(backend).exclusive(0) as first, lock(backend).exclusive(0) as second:
        assert (first, second) == (True, False)


def test_a_writer_that_died_is_not_waited_for(backend: Backend) -> None:
    assert leases.take(backend.db, "w:ds_1:dead", "dead", 0.05)
    with lock(backend).exclusive(60) as alone:
        assert alone


def test_a_writer_that_lost_its_lease_commits_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a long pause, or while the database cannot be reached."""
    failed = threading.Event()

    def fail(*_: object) -> bool:
        failed.set()
        raise OperationalError("no", {}, Exception("the database has gone"))

    with lock(backend, seconds=0.6).shared() as check, monkeypatch.context() as patch:
        patch.setattr(leases, "take", fail)
        assert failed.wait(60)
        threading.Event().wait(0.4)
        with pytest.raises(DatasetBusy, match="Nothing was written; try again"):
            check()


def test_a_lease_is_renewed_as_long_as_it_is_held(backend: Backend) -> None:
    def until() -> datetime:
        with backend.db.reading() as session:
            return session.scalars(select(Lease.until)).one()

    with lock(backend, seconds=1.2).shared():
        first, deadline = until(), time.monotonic() + 60
        while until() < first + timedelta(seconds=1.2):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_lease_that_cannot_be_given_up_runs_out(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("no", {}, Exception("the database has gone"))

    with monkeypatch.context() as patch:
        patch.setattr(leases, "give_up", fail)
        with lock(backend, seconds=0.5).shared():
            pass
    assert "runs out by itself" in caplog.text
    with lock(backend).exclusive(60) as alone:
        assert alone
