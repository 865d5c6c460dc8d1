"""Many erasure requests in one call, on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, JsonValue, ValidationError
from pydantic_core import CoreSchema, core_schema

from core.bulk import MOST
from service.schemas.common import In, Out, Problem
from service.schemas.requests import ErasureRequestView, NewErasureRequest

_EXAMPLE: dict[str, JsonValue] = {
    "items": [
        {"model": "mnist", "subject_id": "subject-42", "external_id": "ticket-7"},
        {"model": "mnist", "subject_id": "subject-43", "regulation": "ccpa"},
    ]
}


@dataclass(frozen=True)
class BulkItem:
    """One of many: a request, or what is wrong with it. A wrong one does not spoil the others."""

    new: NewErasureRequest | None
    findings: list[dict[str, Any]]

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Documented as the request it is to be."""
        return core_schema.no_info_wrap_validator_function(
            cls._read, handler.generate_schema(NewErasureRequest)
        )

    @classmethod
    def _read(cls, value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> BulkItem:
        try:
            return cls(inner(value), [])
        except ValidationError as error:
            # Never the value itself: it may name a person.
            found = error.errors(include_url=False, include_input=False)
            return cls(None, [dict(each) for each in found])


class Bulk(In):
    """Whose samples models must forget, many in one call."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})
    items: Annotated[
        list[BulkItem],
        Field(
            min_length=1,
            max_length=MOST,
            description="Each as `POST /erasure-requests` takes it; each is taken in, or not, "
            "by itself.",
        ),
    ]


class BulkResult(Out):
    """What became of one item."""

    index: Annotated[int, Field(description="Its place among the items, from 0.")]
    status: Annotated[int, Field(description="As it would be alone: 202, or the problem's.")]
    id: Annotated[str | None, Field(description="Of the erasure request, once taken in.")]
    request: ErasureRequestView | None
    problem: Problem | None


class BulkAnswer(Out):
    """A result for each item, in their order."""

    accepted: int
    refused: int
    items: list[BulkResult]
