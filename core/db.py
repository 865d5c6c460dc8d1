"""Engine, declarative base, and `transaction()`: the only way anything is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    create_engine,
    event,
    exc,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from core.errors import Invalid
from core.points import reached

log = logging.getLogger(__name__)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document: text on SQLite, jsonb on PostgreSQL. None is NULL, never the document null."""


UNREACHABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
"""The database does not answer, or is too busy to."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes in and out; SQLite, which has no zones, keeps them naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes; store UTC."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive datetime would be off by the zone"
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Aware UTC, whatever the database returned."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base with named constraints, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        dict[str, Any]: Json,
        list[str]: Json,
        list[int]: Json,
    }


@dataclass(frozen=True)
class Event:
    """One audit event, not yet chained: what happened to which noun, and no person's name."""

    noun: str
    noun_id: str
    event: str
    data: dict[str, Any]


class Wake(NamedTuple):
    """A worker is to be told of this job, of this model."""

    job_id: str
    model_id: str


@dataclass
class Transaction:
    """A session, the audit events it will append, and what is sent once it has committed."""

    session: Session
    events: list[Event] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    last: list[Base] = field(default_factory=list)
    """New records that are written last: after all that they refer to."""
    finals: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What is done before the commit, in the order of its names: once, however often it is asked
    for, and after all row locks but the audit chain's."""
    _now: datetime | None = None

    @property
    def now(self) -> datetime:
        """The database's clock, once a transaction: hosts whose clocks differ agree on leases."""
        if self._now is None:
            self._now = database_now(self.session)
        return self._now

    def record(self, noun: str, noun_id: str, event: str, **data: Any) -> None:
        """Append an audit event when this transaction commits, in the same commit."""
        self.events.append(Event(noun, noun_id, event, data))

    def wake(self, job_id: str, model_id: str) -> None:
        """Tell a worker, after the commit, that there is a job. A hint: the row is the truth."""
        self.wakes.append(Wake(job_id, model_id))


def database_now(session: Session) -> datetime:
    """The time by the database's clock (SQLite has the host's)."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime)
    return now.astimezone(UTC)


class Database:
    """The engine and its two doors: `transaction()` to write, `reading()` to look.

    Locks on rows are taken in one order, so that nobody waits in a circle: models (by id),
    jobs (by id), erasure requests (by id), then the rest, the audit chain's head last.
    A value that the database cannot hold is `Invalid`, at either door.

    Make one in each process, after a fork. `send` takes a job's id and wakes a worker;
    `chain` appends the audit events of a transaction to the chain, inside it.
    """

    def __init__(
        self,
        url: str,
        *,
        chain: Callable[[Transaction], None],
        send: Callable[[str], None] | None = None,
    ) -> None:
        self.engine = _engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read = sessionmaker(
            self.engine.execution_options(**_READING[self.engine.dialect.name]),
            expire_on_commit=False,
        )
        self._chain = chain
        self._send = send

    @contextmanager
    def transaction(self, wake: Callable[[Wake], None] | None = None) -> Iterator[Transaction]:
        """One transaction, committed at the end of the block, undone if it raises.

        Wake-ups listed in it are sent after the commit, or given to `wake`. One that cannot be
        sent is logged and forgotten: `sweep` finds the row.
        """
        with _storable(), self._write() as session, session.begin():
            tx = Transaction(session)
            yield tx
            session.flush()
            for name in sorted(tx.finals):
                tx.finals[name]()
            session.flush()
            session.add_all(tx.last)
            session.flush()
            self._chain(tx)
        for each in tx.wakes:
            if wake is None:
                self.wake(each.job_id)
            else:
                wake(each)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that writes nothing, waits for no writer, and sees one moment throughout."""
        with _storable(), self._read() as session:
            yield session

    def gather_statistics(self, table: type[Base]) -> None:
        """Tell PostgreSQL's planner at once what a table has got; by itself it looks in a minute.

        Until then it takes the table for a small one, and reads it whole. (SQLite needs none.)
        """
        if self.engine.dialect.name == "postgresql":
            with self.engine.begin() as connection:
                connection.execute(text(f"ANALYZE {table.__tablename__}"))

    def wake(self, job_id: str) -> None:
        """Wake a worker; a broker that does not answer is logged, `sweep` tries again."""
        reached("wake:before")
        if self._send is None:
            return
        try:
            self._send(job_id)
        except Exception as error:  # noqa: BLE001  # any broker fault: the row is the truth
            log.warning("could not wake a worker for job %s, sweep will: %s", job_id, error)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


_READING: dict[str, dict[str, Any]] = {
    "sqlite": {"lethe_reading": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


@contextmanager
def _storable() -> Iterator[None]:
    try:
        yield
    except DataError as error:  # too long, or a NUL: PostgreSQL minds, SQLite does not
        what = str(error.orig).partition("\n")[0]
        raise Invalid(f"a value cannot be stored or looked for: {what}") from error


def _engine(url: str) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            hide_parameters=True,  # errors are logged, values are not
            connect_args={"timeout": 30, "check_same_thread": False},
        )
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    return create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_use_lifo=True,  # few connections that are warm: each prepares its own statements
        pool_size=10,
        max_overflow=20,
        connect_args={
            "connect_timeout": 5,
            # A process that is paused within a transaction must not keep its locks for ever.
            "options": "-c timezone=UTC -c lock_timeout=20s -c statement_timeout=60s "
            "-c idle_in_transaction_session_timeout=60s",
        },
    )


def _sqlite_connect(connection: Any, _: ConnectionPoolEntry) -> None:
    # The driver would begin transactions late and by its own rules; see _sqlite_begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an answered 202 survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # deleted rows are overwritten, not only unlinked
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read lock later can only fail.
    reading = connection.get_execution_options().get("lethe_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
