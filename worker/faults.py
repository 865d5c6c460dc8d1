"""What went wrong with a job, in words that say what to do, and whether to try again."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from core.errors import LetheError
from worker.memory import ran_out

_RIGHTS = "this worker's user lacks the rights: grant them"
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: raise it, or free some",
    errno.EROFS: "the store is read-only: make it writable",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
}
_SAID = {
    "no space left on device": errno.ENOSPC,
    "quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
    "operation not permitted": errno.EPERM,
}
"""What Lance says, in errors that bear no number."""


def told(error: Exception) -> tuple[str, bool]:
    """One line for whoever looks at the job, and whether another attempt may help.

    A ValueError is the method's word for a problem that no retry will solve.
    """
    retry = not isinstance(error, ValueError)
    for each in _causes(error):
        number = _number(each)
        if number is not None:
            return f"{_ADVICE[number]}, then retry the job ({_line(error)})", retry
    if isinstance(error, LetheError | ValueError):
        return str(error), retry
    if ran_out(error):
        return f"memory ran out: give the worker more, then retry the job ({_line(error)})", retry
    return f"{type(error).__name__}: {_line(error)}", retry


def _number(error: BaseException) -> int | None:
    if not isinstance(error, OSError | RuntimeError):
        return None
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return error.errno
    text = str(error).lower()
    return next((number for said, number in _SAID.items() if said in text), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
