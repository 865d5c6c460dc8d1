"""Errors that users meet. Each says what happened and what to do; none knows HTTP.

`service.errors` maps the classes to statuses, `lethe.cli` prints the message.
"""

from __future__ import annotations


class LetheError(Exception):
    """Something the user can act on. The message is shown as it is."""


class NotFound(LetheError):
    """A named thing does not exist."""


class Conflict(LetheError):
    """The thing exists, but its state does not allow this."""


class Invalid(LetheError):
    """The request itself is wrong.

    `details` lists every finding as {"where": ..., "message": ...}.
    """

    def __init__(self, message: str, details: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.details = details or []


class Unauthorized(LetheError):
    """No key, an unknown key, an expired or a revoked one.

    `key_id` names the key whose text was nearly right, for the log; None for one that is not there.
    """

    def __init__(self, message: str, key_id: str | None = None) -> None:
        super().__init__(message)
        self.key_id = key_id


class Forbidden(LetheError):
    """The key is good but lacks the scope, or is for another model."""


class Unavailable(LetheError):
    """A part that is needed does not answer now; trying again later may work."""


class LeaseLost(LetheError):
    """Another worker holds the job now: stop, write nothing more."""


class CancelRequested(LetheError):
    """The job was cancelled before it published: end it, publish nothing."""


class SettingsError(LetheError):
    """The settings cannot be run with."""


class Gone(LetheError):
    """A named thing existed, and never will again."""


class TooBusy(LetheError):
    """More is asked for at this moment than can be done; trying again soon will work."""


class TooMany(LetheError):
    """A limit on how often something may be done is reached; `seconds` from now it is not."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class TimedOut(LetheError):
    """The caller's time was over before the answer was ready."""
