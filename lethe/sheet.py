"""Erasure requests from a CSV file: read a few at a time, sent in chunks that may be sent again."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.errors import Invalid, LetheError
from lethe.answers import BulkResult
from lethe.client import Client
from lethe.console import Advance

COLUMNS = ("subject_id", "external_id", "regulation", "callback_url", "strategy")
RESULTS = ("line", "external_id", "status", "id", "request_status", "outcome", "code", "detail")
CHUNK = 500
"""Lines in one call: each is a step of the progress bar, and sent again as a whole."""


@dataclass(frozen=True)
class Row:
    """One line of the file, and what it asks for."""

    line: int
    fields: dict[str, str]


class Sheet:
    """A CSV file with a header that names some of `COLUMNS`, subject_id among them.

    It is read through once here, so that a wrong line is told before anything is sent. Raises
    `Invalid` naming the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = sum(1 for _ in self.rows())
        if not self.count:
            raise Invalid(f"{path} has no line below its header")
        with path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()

    def rows(self) -> Iterator[Row]:
        """Every line below the header, in its order."""
        at = 0  # the line that was read last
        try:
            # What is no UTF-8 is found where it stands, not where a buffer of it ends.
            with self._path.open(
                newline="", encoding="utf-8-sig", errors="surrogateescape"
            ) as file:
                lines = csv.reader(file, strict=True)
                columns = self._columns(next(lines, []))
                at = lines.line_num
                for cells in lines:
                    if cells:
                        yield Row(at + 1, self._fields(at + 1, columns, cells))
                    at = lines.line_num
        except csv.Error as error:
            raise Invalid(f"{self._path}, line {at + 1}: not CSV ({error})") from None

    def _columns(self, header: list[str]) -> list[str]:
        known = ", ".join(COLUMNS)
        if "subject_id" not in header:
            raise Invalid(
                f"{self._path}, line 1: must name the columns, separated by commas, and "
                f"subject_id among them; the columns are {known}"
            )
        for name in header:
            if name not in COLUMNS:
                raise Invalid(f"{self._path}, line 1: no column {name[:40]!a}; they are {known}")
            if header.count(name) > 1:
                raise Invalid(f"{self._path}, line 1: the column {name} is named twice")
        return header

    def _fields(self, line: int, columns: list[str], cells: list[str]) -> dict[str, str]:
        if len(cells) != len(columns):
            raise Invalid(
                f"{self._path}, line {line}: {len(cells)} cells under {len(columns)} columns"
            )
        if not all(cell.isprintable() or _is_utf8(cell) for cell in cells):
            raise Invalid(f"{self._path}, line {line}: not UTF-8")
        fields = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        if "subject_id" not in fields:
            raise Invalid(f"{self._path}, line {line}: no subject_id")
        return fields


@dataclass(frozen=True)
class Sent:
    """How many lines were taken in, and how many not."""

    accepted: int
    refused: int


def send(client: Client, model: str, sheet: Sheet, results: Path, advance: Advance) -> Sent:
    """Send every line, and write what became of it to `results`, line by line.

    Each chunk's Idempotency-Key comes from the file and its place in it: sent again after it broke
    off, what was taken in is answered as it was. `results` has no subject_id: see the line.
    """
    accepted = refused = 0
    rows = sheet.rows()
    with results.open("w", newline="", encoding="utf-8") as file:
        told = csv.DictWriter(file, RESULTS)
        told.writeheader()
        while chunk := list(islice(rows, CHUNK)):
            key = hashlib.sha256(f"{sheet.digest} {model} {chunk[0].line}".encode()).hexdigest()
            done = client.erase_many(
                ({"model": model, **row.fields} for row in chunk), idempotency_key=f"csv-{key}"
            )
            if len(done.items) != len(chunk):
                raise LetheError(
                    f"the service answered {len(done.items)} of {len(chunk)} lines from line "
                    f"{chunk[0].line} on"
                )
            for row, result in zip(chunk, done.items, strict=True):
                told.writerow(_told(row, result))
            file.flush()
            accepted, refused = accepted + done.accepted, refused + done.refused
            advance((accepted + refused) / sheet.count, f"{refused} refused" if refused else "")
    return Sent(accepted, refused)


def _is_utf8(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(row: Row, result: BulkResult) -> dict[str, object]:
    request, problem = result.request, result.problem
    return {
        "line": row.line,
        "external_id": row.fields.get("external_id"),
        "status": result.status,
        "id": result.id,
        "request_status": request and request.status,
        "outcome": request and request.outcome,
        "code": problem and problem.code,
        "detail": problem and problem.detail,
    }
