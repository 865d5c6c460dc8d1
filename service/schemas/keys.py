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


class KeyView(Out):
    """An API key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None

    @classmethod
    def fields(cls, key: ApiKey) -> dict[str, Any]:
        """The fields of every view of a key."""
        return {name: getattr(key, name) for name in KeyView.model_fields}

    @classmethod
    def of(cls, key: ApiKey) -> KeyView:
        """As lists show it."""
        return cls(**cls.fields(key))


class MadeKey(KeyView):
    """A key that was just made."""

    key: Annotated[str, Field(description="Shown this once; only a digest of it is kept.")]


class KeyPage(Out):
    """Newest first; one page."""

    items: list[KeyView]
    next: None = None
