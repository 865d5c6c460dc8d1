"""What every noun on the wire is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)

NO_NUL = r"^[^\x00]*$"  # PostgreSQL's text has no NUL


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""RFC 3339; UTC ("Z") on the way out."""

_url = TypeAdapter(AnyHttpUrl)


def _http_url(text: str) -> str:
    _url.validate_python(text)
    return text


def text(longest: int) -> Any:
    """Between one character and `longest`, and storable."""
    return StringConstraints(min_length=1, max_length=longest, pattern=NO_NUL)


Name = Annotated[str, text(100)]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=NO_NUL),
    Field(description="Why, in words. Kept in the audit chain: do not name the person."),
]
SampleId = Annotated[str, text(500)]
HttpUrl = Annotated[str, text(2000), AfterValidator(_http_url)]


class In(BaseModel):
    """What comes in: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What goes out."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)


class Problem(BaseModel):
    """An error (RFC 9457), of media type application/problem+json."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:lethe:problem:not_found",
                "title": "Not found",
                "status": 404,
                "detail": "there is no model 'mnits'; models: mnist",
                "code": "not_found",
                "request_id": "req_01k1y0z6m3v8w4x2y5z7a9b1c3",
            }
        }
    )
    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable: programs may rely on it.")]
    request_id: str
    errors: Annotated[
        list[dict[str, str]] | None,
        Field(description='Each finding, as {"where": ..., "message": ...}.'),
    ] = None


class Because(In):
    """A decision and its reason."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "asked for by mistake"}}
    )
    reason: Reason
