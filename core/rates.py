"""How often something may be done: "1000/minute", as settings have it, or "off"."""

from __future__ import annotations

from limits import RateLimitItem, parse

from core.errors import SettingsError

OFF = "off"

SETTINGS = (
    "address_rate",
    "key_rate",
    "erasure_rate",
    "failed_key_rate",
    "key_quota",
    "subject_quota",
)
"""The settings that are rates."""


def rate(name: str, text: str) -> RateLimitItem | None:
    """The rate in the setting `name`; None for "off". Raises `SettingsError` for what is none."""
    if text.strip().lower() == OFF:
        return None
    try:
        found = parse(text)
    except ValueError:
        found = None
    if found is None or found.amount < 1:
        raise SettingsError(
            f"LETHE_{name.upper()}: {text!r} is no rate, such as 1000/minute or 20/day; "
            f"{OFF!r} is none"
        )
    return found
