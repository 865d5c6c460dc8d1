"""Cursor pages and the parameters that lists share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query

from service.schemas.common import NO_NUL

Cursor = Annotated[
    str | None,
    Query(alias="cursor", max_length=100, pattern=NO_NUL, description="`next` of the page before."),
]
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many items.")]
ModelName = Annotated[str, Path(max_length=100, pattern=NO_NUL)]
ModelFilter = Annotated[
    str | None, Query(max_length=100, pattern=NO_NUL, description="Of this model only.")
]
StatusFilter = Annotated[
    str | None, Query(max_length=20, pattern=NO_NUL, description="In this state only.")
]
Id = Annotated[str, Path(max_length=100, pattern=NO_NUL)]

Record = TypeVar("Record", bound=Any)


def page(found: Sequence[Record], limit: int) -> tuple[Sequence[Record], str | None]:
    """Of `limit + 1` records that were asked for: those to show, and the next page's cursor."""
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None
