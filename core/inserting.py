"""New rows by the dozen, in one statement each kind: past the session's unit of work.

A session writes row by row, which costs several times as much on either side of the wire. On
PostgreSQL the rows go as one JSON document, which the server takes apart: one value to bind and
one statement to run, however many they are.
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
from sqlalchemy.orm.attributes import set_committed_value

from core.db import Base


def insert_rows(session: Session, kind: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of `kind`, each with the value of every column by its name."""
    if not rows:
        return
    table = _table(kind)
    if session.get_bind().dialect.name == "postgresql":
        document = json.dumps(rows, default=_moment, separators=(",", ":"))
        # A column of JSON may hold a NUL, a document that is taken apart may not.
        if "\\u0000" not in document:
            session.execute(_from_json(table), {"rows": document})
            return
    session.execute(table.insert(), rows)


def insert_all(session: Session, records: Sequence[Base]) -> None:
    """Insert new records of one kind, which the session does not know then: nobody changes them."""
    if records:
        insert_rows(session, type(records[0]), [_row(record) for record in records])


def insert_kept(session: Session, records: Sequence[Base]) -> None:
    """`insert_all` of records that this transaction goes on with: the session follows them."""
    if not records:
        return
    rows = [_row(record) for record in records]
    insert_rows(session, type(records[0]), rows)
    for record, row in zip(records, rows, strict=True):
        for name in row.keys() - record.__dict__.keys():
            set_committed_value(record, name, row[name])
        make_transient_to_detached(record)
    session.add_all(records)


def _row(record: Base) -> dict[str, Any]:
    """Every column's value; where none was given, its default."""
    given = record.__dict__
    return {
        column.key: given[column.key] if column.key in given else _default(column)
        for column in _table(type(record)).columns
    }


def _default(column: Column[Any]) -> Any:
    default = column.default
    return default.arg if isinstance(default, ColumnDefault) else None


def _table(kind: type[Base]) -> Table:
    table = kind.__table__
    assert isinstance(table, Table)
    return table


@cache
def _from_json(table: Table) -> Insert:
    names = [column.name for column in table.columns]
    document = cast(bindparam("rows", type_=Text), JSON)
    empty: ColumnElement[Any] = literal_column(f"NULL::{table.name}")
    rows = func.json_populate_recordset(empty, document).table_valued(*names, name="rows")
    return table.insert().from_select(names, select(*(rows.c[name] for name in names)))


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a column cannot hold a {type(value).__name__}")
