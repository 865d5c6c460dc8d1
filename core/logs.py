"""Log lines: one an event, as JSON or for a terminal, with the ids of what it is about.

Modules log through the standard library (`log.info("job claimed", extra={"state": ...})`);
`configure` puts a formatter of its own under all of it, Celery's, Uvicorn's and SQLAlchemy's
lines included. `bound` gives every line of a call or a job its ids.

No line names a person. Bodies and query strings are not logged, paths only as their template,
and tracebacks where callers' values pass through have no messages, which may quote them.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import orjson
import structlog
from structlog.contextvars import (
    bind_contextvars,
    bound_contextvars,
    get_contextvars,
    merge_contextvars,
    reset_contextvars,
)
from structlog.typing import EventDict, Processor, WrappedLogger

Style = Literal["json", "text"]

_QUIETER = {
    "celery.worker.strategy": logging.WARNING,  # a line a wake-up: ours say what was claimed
    "celery.app.trace": logging.WARNING,
    "httpx": logging.WARNING,  # its lines carry whole addresses
    "alembic": logging.WARNING,
}

bound = bound_contextvars
"""`with bound(job_id=...)`: the ids of every line that this task or thread logs inside."""

bind, unbind = bind_contextvars, reset_contextvars
"""`tokens = bind(request_id=...)`, then `unbind(**tokens)`: the same, for what happens often."""


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is at that moment, a whole line at a time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; one that cannot be written is told as logging tells it."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  # any: a line is not worth an outage
            self.handleError(record)


def configure(style: Style | None, *, messages: bool = True) -> None:
    """Let every logger of this process write lines of this style to stderr.

    style: None is "text" on a terminal, else "json". messages: whether tracebacks say what
    the error said; False in processes that answer callers.
    """
    if style is None:
        style = "text" if sys.stderr.isatty() else "json"
    handler = _Stderr()
    handler.setFormatter(_Json(messages) if style == "json" else _words(messages))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # No line says which thread or process of its own wrote it: do not ask for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
    logging.captureWarnings(True)
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)


class _Json(logging.Formatter):
    """One JSON object a line, written straight from the record: every call has a line."""

    def __init__(self, messages: bool) -> None:
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        event: dict[str, Any] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "time": moment.isoformat(timespec="microseconds") + "Z",
        }
        event.update(get_contextvars())
        for name in islice(record.__dict__, _FIRST_EXTRA, None):
            if name not in _OF_RECORDS:
                event[name] = record.__dict__[name]
        error = record.exc_info and record.exc_info[1]
        if error:
            event["exception"] = described(error, message=self._messages)
        try:
            return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # a number of more than 64 bits, or text that is no Unicode
            return json.dumps(event, default=str)


_OF_RECORDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record has; the rest was given as `extra`, and stands after it."""

_FIRST_EXTRA = len(vars(logging.makeLogRecord({})))


def _words(messages: bool) -> logging.Formatter:
    """For a terminal."""
    before: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _Traceback(messages),
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time"),
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last)


class _Traceback:
    """Replaces `exc_info` by text: where the error arose and what it was."""

    def __init__(self, messages: bool) -> None:
        self._messages = messages

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        found = event.pop("exc_info", None)
        error = found[1] if isinstance(found, tuple) else found
        if isinstance(error, BaseException):
            event["exception"] = described(error, message=self._messages)
        return event


def described(error: BaseException, *, message: bool) -> str:
    """A traceback of several lines; without `message` only the classes of the errors are told."""
    if message:
        return "".join(traceback.format_exception(error)).rstrip()
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        lines += [f"{type(seen).__module__}.{type(seen).__qualname__}", *_frames(seen)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(lines)


def _frames(error: BaseException) -> Sequence[str]:
    found = traceback.extract_tb(error.__traceback__)
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(found)]
