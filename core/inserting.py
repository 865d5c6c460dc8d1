"""New rows by the dozen, of several kinds in one statement: past the session's unit of work.

A session writes row by row, which costs several times as much on either side of the wire. On
PostgreSQL the rows of a kind go as one JSON document, which the server takes apart, and all kinds
together as one statement: what refers to what is checked at its end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnDefault,
    ColumnElement,
    Insert,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Session, make_transient_to_detached

from core.db import Base

Rows = Sequence[Mapping[str, Any]]
"""Of one kind, each with the value of every column by its name."""


def insert_all(session: Session, *batches: Sequence[Base]) -> None:
    """Insert new records, the kinds in the order given: what others refer to comes first.

    The session does not know them then: see `follow`.
    """
    rows: dict[type[Base], list[dict[str, Any]]] = {}
    for batch in batches:
        for record in batch:
            rows.setdefault(type(record), []).append(_row(record))
    _insert(session, list(rows.items()))


def insert_rows(session: Session, kind: type[Base], rows: Rows) -> None:
    """The same of one kind, without making records of them."""
    if rows:
        _insert(session, [(kind, rows)])


def follow(session: Session, records: Sequence[Base]) -> None:
    """Have the session know records that were inserted, and write what is changed of them now."""
    for record in records:
        make_transient_to_detached(record)
    session.add_all(records)


def _insert(session: Session, batches: Sequence[tuple[type[Base], Rows]]) -> None:
    if not batches:
        return
    tables = tuple(_table(kind) for kind, _ in batches)
    if session.get_bind().dialect.name == "postgresql":
        documents = {
            table.name: json.dumps(rows, default=_moment, separators=(",", ":"))
            for table, (_, rows) in zip(tables, batches, strict=True)
        }
        # A column of JSON may hold a NUL, a document that is taken apart may not.
        if not any("\\u0000" in document for document in documents.values()):
            session.execute(_from_documents(tables), documents)
            return
    for table, (_, rows) in zip(tables, batches, strict=True):
        session.execute(table.insert(), rows)


def _row(record: Base) -> dict[str, Any]:
    """Every column's value; what the record was not given it is given now, as if it were loaded."""
    given = record.__dict__  # past the attributes: nobody follows a new record's changes yet
    for name, default in _defaults(type(record)).items():
        given.setdefault(name, default)
    return {name: given[name] for name in _defaults(type(record))}


@cache
def _defaults(kind: type[Base]) -> dict[str, Any]:
    """By column, what it is where a record was not given it."""
    columns = _table(kind).columns
    return {column.key: _default(column) for column in columns}


def _default(column: Column[Any]) -> Any:
    default = column.default
    return default.arg if isinstance(default, ColumnDefault) else None


def _table(kind: type[Base]) -> Table:
    table = kind.__table__
    assert isinstance(table, Table)
    return table


@cache
def _from_documents(tables: tuple[Table, ...]) -> Insert:
    """One statement that fills these tables, each from the parameter of its name."""
    *others, last = (_from_document(table) for table in tables)
    for number, other in enumerate(others):
        last = last.add_cte(other.cte(f"batch_{number}"))
    return last


def _from_document(table: Table) -> Insert:
    names = [column.name for column in table.columns]
    document = cast(bindparam(table.name, type_=Text), JSON)
    empty: ColumnElement[Any] = literal_column(f"NULL::{table.name}")
    rows = func.json_populate_recordset(empty, document).table_valued(*names, name="rows")
    return table.insert().from_select(names, select(*(rows.c[name] for name in names)))


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        assert value.tzinfo is not None, "a naive datetime would be off by the zone"
        return value.isoformat()
    raise TypeError(f"a column cannot hold a {type(value).__name__}")
