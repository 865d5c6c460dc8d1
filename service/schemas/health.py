"""Liveness and readiness on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from service.schemas.common import Out


class Alive(Out):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Check(Out):
    """One part that readiness needs."""

    ok: bool
    detail: str


class Readiness(Out):
    """May this process be sent traffic?"""

    status: Literal["ready", "not ready"]
    checks: dict[str, Check]
    workers: Annotated[int | None, Field(description="Worker processes that are alive.")]
    waiting: Annotated[int | None, Field(description="Jobs that wait for one.")]
    overdue: Annotated[int | None, Field(description="Open erasure requests past their due date.")]
    warnings: Annotated[
        list[str], Field(description="What somebody must see to; it may be sent traffic still.")
    ]
    models: Annotated[dict[str, Any], Field(description="What this process serves, by model.")]
