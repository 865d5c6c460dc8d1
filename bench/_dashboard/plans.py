"""What PostgreSQL does for each page: every query again under EXPLAIN, scans of tables named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import ExecutionContext

from core.db import Database
from core.settings import Settings
from service.app import create_app

LARGE = 2000
"""Rows from which on a table is too large to be read from end to end for a page."""


@dataclass(frozen=True)
class Scan:
    """A query of a page that reads a whole large table, row by row."""

    page: str
    table: str
    rows: int
    query: str


def scans(settings: Settings, key: str, pages: Mapping[str, str]) -> tuple[int, list[Scan]]:
    """How many queries the pages make in all, and those that scan a whole large table."""
    app = create_app(settings, "api")
    with TestClient(app) as client:
        client.headers["Origin"] = str(client.base_url)
        assert client.post("/admin/sign-in", data={"key": key}).status_code == 200
        db: Database = app.state.backend.db
        heard: list[tuple[str, Any]] = []

        def hear(
            _: Connection,
            __: Any,
            statement: str,
            parameters: Any,
            ___: ExecutionContext,
            ____: bool,
        ) -> None:
            heard.append((statement, parameters))

        event.listen(db.engine, "before_cursor_execute", hear)
        found: list[Scan] = []
        count = 0
        with db.engine.connect() as connection:
            sizes = _sizes(connection)
            for page, path in pages.items():
                heard.clear()
                assert client.get(path).status_code == 200, path
                queries = [each for each in heard if each[0].lstrip().startswith("SELECT")]
                count += len(queries)
                for statement, parameters in queries:
                    found += [
                        Scan(page, table, sizes[table], statement)
                        for table in _scanned(connection, statement, parameters)
                        if sizes.get(table, 0) >= LARGE
                    ]
    return count, found


def _sizes(connection: Connection) -> dict[str, int]:
    query = text("SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r'")
    return dict(connection.execute(query).all())


def _scanned(connection: Connection, statement: str, parameters: Any) -> set[str]:
    """Tables that the plan reads from end to end."""
    raw = connection.connection.cursor()
    try:
        raw.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        [[plans]] = raw.fetchall()
    finally:
        raw.close()
    found, waiting = set(), [plan["Plan"] for plan in plans]
    while waiting:
        node = waiting.pop()
        if node["Node Type"] == "Seq Scan":
            found.add(node["Relation Name"])
        waiting += node.get("Plans", [])
    return found
