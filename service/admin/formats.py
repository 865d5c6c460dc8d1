"""How values read on a page: filters of the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

TONES: Mapping[str, str] = {
    # of requests
    "received": "idle",
    "scheduled": "idle",
    "in_progress": "busy",
    "completed": "good",
    "rejected": "off",
    "cancelled": "off",
    "needs_review": "doubt",
    # of jobs
    "queued": "idle",
    "running": "busy",
    "verifying": "busy",
    "publishing": "busy",
    "destroying": "busy",
    "succeeded": "good",
    "failed": "bad",
    # of versions
    "candidate": "idle",
    "serving": "good",
    "retired": "off",
    "destroyed": "off",
    # of callbacks
    "pending": "busy",
    "delivered": "good",
    "given_up": "bad",
    # verdicts
    "PASS": "good",
    "INCONCLUSIVE": "doubt",
    "FAIL": "bad",
}
"""good, busy, idle, doubt, bad, off: one look for each, beside the word, never instead of it."""

DASH = "–"


def state(value: str) -> Markup:
    """A state or a verdict as a label."""
    tone, shown = TONES.get(value, "off"), words(value).capitalize()
    return Markup('<span class="state {}">{}</span>').format(tone, shown)


def words(value: str) -> str:
    """no_data_found as: no data found."""
    return value.replace("_", " ")


def moment(value: datetime | None) -> Markup | str:
    """2026-05-01 12:00 UTC, with the seconds in its title."""
    if value is None:
        return DASH
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"),
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
        f"{utc:%Y-%m-%d %H:%M}",
    )


def day(value: datetime | None) -> Markup | str:
    """2026-05-01, with the time in its title."""
    if value is None:
        return DASH
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S} UTC", f"{utc:%Y-%m-%d}"
    )


def duration(seconds: float | None) -> str:
    """850 ms, 4.2 s, 3 min 5 s, 2 h 10 min, 12 days."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    days = whole // 86_400
    return f"{days} day{'s' if days != 1 else ''}"


def away(value: datetime | None, now: datetime) -> str:
    """in 12 days, 3 h 5 min ago."""
    if value is None:
        return DASH
    seconds = (value - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    told = duration(abs(seconds)).split(" ")
    short = " ".join(told[:2])
    return f"in {short}" if seconds > 0 else f"{short} ago"


def number(value: float | None, digits: int = 3) -> str:
    """A figure: whole ones with thousands, small ones as 1.2e-05."""
    if value is None:
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share 0..1."""
    return DASH if value is None else f"{value:.{digits}%}"


def size(count: float | None) -> str:
    """Bytes in kB, MB, GB."""
    if count is None:
        return DASH
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def plural(count: int, one: str, many: str | None = None) -> str:
    """3 jobs, 1 job."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(identifier: str) -> Markup:
    """An id by its kind and its end, whole in its title; digests by their beginning."""
    kind, _, rest = identifier.rpartition("_")
    shown = f"{kind}_…{rest[-6:]}" if kind else identifier[:12]
    return Markup('<code class="id" title="{}">{}</code>').format(identifier, shown)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "state": state,
    "words": words,
    "moment": moment,
    "day": day,
    "duration": duration,
    "away": away,
    "number": number,
    "percent": percent,
    "size": size,
    "plural": plural,
    "short": short,
}
