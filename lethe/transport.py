"""HTTP to the service: keys, retries, and errors as one line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from core.errors import LetheError, Unavailable

_AGAIN = (429, 502, 503, 504)
_LONGEST_PAUSE = 30.0  # seconds, whatever Retry-After asks for


class ApiError(LetheError):
    """The service refused. `status` is HTTP's, `code` the service's stable name for it."""

    def __init__(self, message: str, status: int, code: str | None, body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body


class Transport:
    """One connection pool to one service, with one key.

    A call is tried again, after a pause that doubles, when no connection came about, on 429 and
    503 (after Retry-After), and, if repeating it is `safe`, when the connection broke midway.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float,
        retries: int,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(
                base_url=url, headers=headers, timeout=timeout, transport=transport
            )
        except (httpx.InvalidURL, TypeError) as error:
            raise LetheError(f"LETHE_URL {url!r} is not an address: {error}") from None
        self._url, self._timeout = url, timeout
        self._retries, self._sleep = retries, sleep

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        safe: bool = True,
        extra_time: float = 0.0,
    ) -> httpx.Response:
        """One answer below 400; raises `ApiError` for another, `Unavailable` for none."""
        attempt = 0
        while True:
            try:
                response = self._http.request(
                    method,
                    path,
                    json=json,
                    params={k: v for k, v in (params or {}).items() if v is not None},
                    headers=headers,
                    timeout=self._timeout + extra_time,
                )
            except httpx.UnsupportedProtocol as error:
                raise LetheError(f"LETHE_URL {self._url!r}: {error}") from None
            except httpx.TransportError as error:
                connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if attempt >= self._retries or (connected and not safe):
                    raise self._silent(error) from None
                pause = _pause(attempt)
            else:
                if response.status_code not in _AGAIN or attempt >= self._retries:
                    return _checked(response)
                pause = _pause(attempt, response.headers.get("Retry-After"))
            self._sleep(pause)
            attempt += 1

    def _silent(self, error: httpx.TransportError) -> Unavailable:
        if isinstance(error, httpx.ConnectError):
            return Unavailable(
                f"no service answers at {self._url} ({error}); start it with `lethe serve`, "
                "or set LETHE_URL"
            )
        words = str(error) or type(error).__name__
        return Unavailable(f"the service at {self._url} did not answer: {words}")


def _pause(attempt: int, retry_after: str | None = None) -> float:
    if retry_after is not None:
        try:
            return min(max(float(retry_after), 0.0), _LONGEST_PAUSE)
        except ValueError:  # a date: our own pause will do
            pass
    return float(min(0.2 * 2**attempt, _LONGEST_PAUSE))


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code < 400:
        return response
    try:
        body = response.json()
    except ValueError:
        body = None
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    said = problem.get("detail") or problem.get("title") or response.reason_phrase
    message = f"{said} (HTTP {response.status_code})"
    if response.status_code == 401:
        message += "; set LETHE_API_KEY, or LETHE_HOME to where the service keeps its key"
    raise ApiError(message, response.status_code, problem.get("code"), body)
