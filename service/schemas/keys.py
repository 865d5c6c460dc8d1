"""API keys on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from core import keys
from core.records import ApiKey
from service.schemas.common import In, Moment, Name, Out


class NewKey(In):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "shop", "scopes": ["erase"], "days": 365}},
    )
    name: Name
    scopes: Annotated[
        list[str], Field(min_length=1, max_length=20, description=", ".join(keys.SCOPES))
    ]
    days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    model: Annotated[
        Name | None, Field(description="The only model that it is for; else it is for every one.")
    ] = None


class Rotation(In):
    """How a key gets its new secret."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"overlap_seconds": 86400}}
    )
    overlap_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=round(keys.MOST_OVERLAP.total_seconds()),
            description="How long the old secret stays good; 0 ends it at once.",
        ),
    ] = 86_400
    days: Annotated[
        int | None,
        Field(ge=1, le=36_500, description="Good for so many from now on; else as before."),
    ] = None


class KeyView(Out):
    """An API key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    model: Annotated[str | None, Field(description="The only model that it is for.")]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None
    previous_until: Annotated[
        Moment | None, Field(description="Until when the secret before the last rotation is good.")
    ]

    @classmethod
    def fields(cls, key: ApiKey, model: str | None) -> dict[str, Any]:
        """The fields of every view of a key; model: the name of the one that it is for."""
        own = KeyView.model_fields.keys() - {"model"}
        return {name: getattr(key, name) for name in own} | {"model": model}

    @classmethod
    def of(cls, key: ApiKey, model: str | None) -> KeyView:
        """As lists show it."""
        return cls(**cls.fields(key, model))


class MadeKey(KeyView):
    """A key that was just made."""

    key: Annotated[str, Field(description="Shown this once; only a digest of it is kept.")]


class KeyPage(Out):
    """Newest first; one page."""

    items: list[KeyView]
    next: None = None
