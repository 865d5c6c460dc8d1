"""Transactions: all or nothing, and nobody is woken for what was not committed."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import Session

from core.backend import Backend, open_backend
from core.db import Database, database_now
from core.errors import Invalid
from core.records import AuditEvent, Lease, Model


def leases(backend: Backend) -> list[str]:
    with backend.db.reading() as session:
        return list(session.scalars(select(Lease.name).order_by(Lease.name)))


@pytest.fixture
def sent(backend: Backend) -> list[str]:
    return []


@pytest.fixture
def db(backend: Backend, sent: list[str]) -> Database:
    """The backend's database, with wake-ups that land in `sent`."""
    backend.db.close()
    opened = open_backend(backend.settings, send=sent.append)
    object.__setattr__(backend, "db", opened.db)
    return opened.db


def add(session: Session, name: str, until: datetime) -> None:
    session.add(Lease(name=name, owner="me", until=until))


def test_commit_keeps_and_sends_in_order(backend: Backend, db: Database, sent: list[str]) -> None:
    with db.transaction() as tx:
        add(tx.session, "a", tx.now)
        tx.wake("job_2", "mdl_1")
        tx.wake("job_1", "mdl_1")
        tx.record("lease", "a", "made", n=1)
        assert sent == []
    assert sent == ["job_2", "job_1"]
    assert leases(backend) == ["a"]


def test_an_error_leaves_nothing_and_sends_nothing(
    backend: Backend, db: Database, sent: list[str]
) -> None:
    def failing() -> None:
        with db.transaction() as tx:
            add(tx.session, "a", tx.now)
            tx.session.flush()
            tx.wake("job_1", "mdl_1")
            tx.record("lease", "a", "made")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert sent == []
    assert leases(backend) == []
    with backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(AuditEvent)) == 0


def test_a_commit_that_fails_sends_nothing(backend: Backend, db: Database, sent: list[str]) -> None:
    with db.transaction() as tx:
        add(tx.session, "a", tx.now)

    def doubling() -> None:
        with db.transaction() as tx:
            add(tx.session, "a", tx.now)
            tx.record("lease", "a", "made")
            tx.wake("job_1", "mdl_1")

    with pytest.raises(IntegrityError):  # found when it is flushed, at the end
        doubling()
    assert sent == []


def test_what_is_sent_can_be_seen_by_whom_it_wakes(backend: Backend) -> None:
    seen: list[list[str]] = []
    db = open_backend(backend.settings, send=lambda _: seen.append(leases(backend))).db
    with db.transaction() as tx:
        add(tx.session, "a", tx.now)
        tx.wake("job_1", "mdl_1")
    db.close()
    assert seen == [["a"]]


def test_a_broker_that_fails_fails_nobody(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(job_id: str) -> None:
        raise OSError(f"no broker for {job_id}")

    db = open_backend(backend.settings, send=refuse).db
    with db.transaction() as tx:
        add(tx.session, "a", tx.now)
        tx.wake("job_1", "mdl_1")
        tx.wake("job_2", "mdl_1")
    db.close()
    assert leases(backend) == ["a"]
    assert [r.getMessage().count("sweep will") for r in caplog.records] == [1, 1]


def test_without_a_sender_nothing_is_sent(backend: Backend) -> None:
    db = Database(backend.settings.database, chain=lambda _: None)
    with db.transaction() as tx:
        tx.wake("job_1", "mdl_1")
    db.close()
    assert tx.wakes == [("job_1", "mdl_1")]


def test_now_is_the_databases_and_one_a_transaction(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        first = tx.now
        time.sleep(0.01)
        assert tx.now == first
        assert first.tzinfo is UTC
        assert database_now(tx.session) > first
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=5)


def test_times_come_back_in_utc_whatever_zone_they_went_in(backend: Backend) -> None:
    moment = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5.5)))
    with backend.db.transaction() as tx:
        add(tx.session, "a", moment)
    with backend.db.reading() as session:
        found = session.scalars(select(Lease.until)).one()
        assert session.scalars(select(Lease.name).where(Lease.until == moment)).one() == "a"
    assert found == moment
    assert found.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(backend: Backend) -> None:
    with pytest.raises(StatementError, match="naive"), backend.db.transaction() as tx:
        add(tx.session, "a", datetime(2026, 1, 1))
    assert leases(backend) == []


def test_readers_do_not_wait_for_a_writer_and_see_one_moment(backend: Backend) -> None:
    with backend.db.transaction() as tx:
        add(tx.session, "a", tx.now)
    with backend.db.reading() as session:
        assert session.scalars(select(Lease.name)).all() == ["a"]
        with backend.db.transaction() as tx:
            add(tx.session, "b", tx.now)
            tx.session.flush()
            assert leases(backend) == ["a"]
        assert session.scalars(select(Lease.name)).all() == ["a"]
    assert leases(backend) == ["a", "b"]


def test_writers_on_sqlite_take_turns_from_the_start(sqlite_backend: Backend) -> None:
    """A read before the write must not be overtaken: nobody ends with "database is locked"."""

    def add_one() -> None:
        for _ in range(20):
            with sqlite_backend.db.transaction() as tx:
                lease = tx.session.get(Lease, "count")
                if lease is None:
                    tx.session.add(Lease(name="count", owner="1", until=tx.now))
                else:
                    lease.owner = str(int(lease.owner) + 1)

    threads = [threading.Thread(target=add_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sqlite_backend.db.reading() as session:
        assert session.get_one(Lease, "count").owner == "80"


def test_reading_cannot_write_on_postgresql(postgres_backend: Backend) -> None:
    insert = text("INSERT INTO leases VALUES ('a', 'me', now())")
    with pytest.raises(DBAPIError, match="read-only"), postgres_backend.db.reading() as session:
        session.execute(insert)
    with postgres_backend.db.transaction() as tx:  # the pooled connection may write again
        add(tx.session, "a", tx.now)


@pytest.mark.parametrize("name", ["x\0y", "x" * 101])
def test_a_value_that_cannot_be_stored_is_the_users_error(
    postgres_backend: Backend, name: str
) -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC)
    with (
        pytest.raises(Invalid, match="cannot be stored") as caught,
        postgres_backend.db.transaction() as tx,
    ):
        add(tx.session, name, until)
    assert "\n" not in str(caught.value)


def test_looking_for_a_value_that_cannot_be_stored(postgres_backend: Backend) -> None:
    with pytest.raises(Invalid, match="looked for"), postgres_backend.db.reading() as session:
        session.get(Model, "\0")


def test_deleted_rows_are_overwritten_on_sqlite(sqlite_backend: Backend) -> None:
    with sqlite_backend.db.transaction() as tx:
        add(tx.session, "a-name-to-look-for", tx.now)
    with sqlite_backend.db.transaction() as tx:
        tx.session.delete(tx.session.get_one(Lease, "a-name-to-look-for"))
    sqlite_backend.db.close()  # the last connection folds the log into the file
    files = [p for p in sqlite_backend.settings.home.iterdir() if p.name.startswith("lethe.db")]
    assert files
    assert all(b"a-name-to-look-for" not in p.read_bytes() for p in files)
