"""What calls are made of: the ways in which the API is asked, and its answers are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from lethe.answers import Answer, Page
from lethe.flow import ApiError, Ask, Flow, Give, Stream, heard

A = TypeVar("A", bound=Answer)


def one(kind: type[A], ask: Ask) -> Flow[A]:
    """The answer to one call."""
    answer = yield ask
    return kind.model_validate(answer.json())


def text(path: str) -> Flow[str]:
    """What lies at `path`, as it is."""
    answer = yield Ask("GET", path)
    return answer.text


def well(path: str) -> Flow[bool]:
    """Does `path` answer 200?"""
    try:
        answer = yield Ask("GET", path)
    except ApiError:
        return False
    return answer.status_code == 200


def decided(kind: type[A], path: str, reason: str, **more: Any) -> Flow[A]:
    """A decision: not made twice."""
    return one(kind, Ask("POST", path, json={"reason": reason, **more}, repeatable=False))


def pages(kind: type[A], path: str, params: Mapping[str, Any]) -> Stream[A]:
    """Every item of a list, asked for page by page as it is read."""
    cursor: str | None = None
    while True:
        answer = yield Ask("GET", path, params={**params, "cursor": cursor})
        page = Page.model_validate(answer.json())
        for item in page.items:
            yield Give(kind.model_validate(item))
        if page.next is None:
            return
        cursor = page.next


def gathered(stream: Stream[A]) -> Flow[list[A]]:
    """The whole of a list that is always short."""
    found: list[A] = []
    yield from heard(stream, found.append)
    return found


def given(**fields: Any) -> dict[str, Any]:
    """A body of what was given: None is what the caller left out."""
    return {name: value for name, value in fields.items() if value is not None}


def in_path(name: str) -> str:
    """A name as one part of a path: whatever it holds, it is not another path."""
    return quote(name, safe="")
