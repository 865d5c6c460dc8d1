"""What the clients do, without doing it: generators that say what to ask, and are told the answer.

`Client` and `AsyncClient` run the same generators; neither knows the other's calls by heart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Generic, TypeVar, cast

import httpx

from core.errors import LetheError, Unavailable

T = TypeVar("T")

LONGEST_PAUSE = 30.0
"""Seconds between two tries, where the service does not say how long."""
LONGEST_RETRY_AFTER = 120.0
"""A service that wants to be left alone for longer is not waited for: the caller must decide."""


@dataclass(frozen=True)
class Ask:
    """One call. `repeatable`: made twice, it does no more than once."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool = True
    extra_time: float = 0.0
    """Seconds that the service may take on top of the client's timeout."""


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Give(Generic[T]):
    """Hand an item to whoever iterates."""

    item: T


Step = Ask | Pause | Give[Any]

Flow = Generator[Ask | Pause, httpx.Response, T]
"""Asks, and returns a T. After a `Pause` it is told nothing."""
Stream = Generator[Ask | Pause | Give[T], httpx.Response, None]
"""Asks, and gives one T after the other."""


class ApiError(LetheError):
    """The service refused. `status` is HTTP's, `code` the service's stable name for it."""

    def __init__(self, message: str, status: int, code: str | None, body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body


def heard(stream: Stream[T], tell: Callable[[T], object]) -> Flow[None]:
    """A stream as a flow: what it gives is told to `tell`."""
    resume: Callable[[], Ask | Pause | Give[T]] = partial(next, stream)
    while True:
        try:
            step = resume()
        except StopIteration:
            return
        if isinstance(step, Give):
            tell(step.item)
            resume = partial(next, stream)
            continue
        try:
            answer = yield step
        except LetheError as error:
            resume = partial(stream.throw, error)
        else:
            resume = partial(stream.send, answer)


def patient(
    flow: Flow[T] | Stream[Any], url: str, retries: int
) -> Generator[Step, httpx.Response, T | None]:
    """The same flow, each of its calls tried as `tried` does; it is told what that raises."""
    resume: Callable[[], Step] = partial(next, flow)
    while True:
        try:
            step = resume()
        except StopIteration as end:
            return cast("T | None", end.value)
        if not isinstance(step, Ask):
            yield step
            resume = partial(next, flow)
            continue
        try:
            answer = yield from tried(step, url, retries)
        except LetheError as error:
            resume = partial(flow.throw, error)
        else:
            resume = partial(flow.send, answer)


def tried(ask: Ask, url: str, retries: int) -> Flow[httpx.Response]:
    """One answer below 400 to one call; raises `ApiError` for another, `Unavailable` for none.

    Tried again, after a pause that doubles or the one that Retry-After asks for: when no
    connection came about and on 429, for then nothing was done; on 502, 503, 504 and when the
    connection broke midway, if the call is repeatable.
    """
    attempt = 0
    while True:
        try:
            answer = yield ask
        except httpx.UnsupportedProtocol as error:
            raise LetheError(f"LETHE_URL {url!r}: {error}") from None
        except httpx.RequestError as error:
            unmade = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            if attempt >= retries or not (unmade or ask.repeatable):
                raise _silent(url, error) from None
            seconds = _backoff(attempt)
        else:
            again = answer.status_code == 429 or (
                ask.repeatable and answer.status_code in (502, 503, 504)
            )
            wanted = _retry_after(answer)
            if not again or attempt >= retries or (wanted or 0.0) > LONGEST_RETRY_AFTER:
                return _checked(answer)
            seconds = _backoff(attempt) if wanted is None else wanted
        yield Pause(seconds)
        attempt += 1


def _backoff(attempt: int) -> float:
    """Half to all of a pause that doubles: clients that failed together do not return together."""
    longest = float(min(0.2 * 2**attempt, LONGEST_PAUSE))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds, from a number of them or a date (RFC 9110); None for neither."""
    text = answer.headers.get("Retry-After")
    if text is None:
        return None
    if text.isascii() and text.strip().isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _silent(url: str, error: httpx.RequestError) -> Unavailable:
    if isinstance(error, httpx.ConnectError):
        return Unavailable(
            f"no service answers at {url} ({error}); start it with `lethe serve`, or set LETHE_URL"
        )
    words = str(error) or type(error).__name__
    return Unavailable(f"the service at {url} did not answer: {words}")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code < 400:
        return response
    try:
        body = response.json()
    except ValueError:
        body = None
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    said = problem.get("detail") or problem.get("title") or response.reason_phrase
    message = f"{said}{_first_of(problem, said)} (HTTP {response.status_code})"
    if response.status_code == 401:
        message += "; set LETHE_API_KEY, or LETHE_HOME to where the service keeps its key"
    raise ApiError(message, response.status_code, problem.get("code"), body)


def _first_of(problem: Mapping[str, Any], said: str) -> str:
    """The first finding, where the summary does not have it: which sample is unknown, of many."""
    match problem.get("errors"):
        case [{"message": str(message)}, *_] if message not in said:
            return f": {message}"
    return ""
