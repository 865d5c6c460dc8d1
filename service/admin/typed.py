"""Decisions that cannot be taken back are confirmed by typing the end of the record's id."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form

from core.errors import Invalid

LENGTH = 6

Typed = Annotated[str, Form(alias="typed", max_length=100)]


def ending(record_id: str) -> str:
    """What is to be typed."""
    return record_id[-LENGTH:]


def check(typed: str, record_id: str) -> None:
    """Raise `Invalid` unless the end of the id was typed."""
    if typed.strip().lower() != ending(record_id).lower():
        raise Invalid(f"type {ending(record_id)}, the end of the id, to confirm")
