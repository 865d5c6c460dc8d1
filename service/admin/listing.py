"""Lists: filters in the address, pages by cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class Filter:
    """A choice above a list. options: (value, words); "" is for all."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]
    value: str = ""


@dataclass(frozen=True)
class Listing:
    """A list's address, what it is filtered by, and the cursors to both sides.

    following: of the next page, None on the last; first: is this the first page?
    """

    path: str
    filters: Sequence[Filter] = ()
    following: str | None = None
    first: bool = True

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set."""
        return {each.name: each.value for each in self.filters if each.value}

    def at(self, **others: str | None) -> str:
        """The list's address with its filters, and others: at(cursor=...)."""
        named: Mapping[str, str | None] = {**self.chosen, **others}
        query = urlencode({name: value for name, value in named.items() if value})
        return f"{self.path}?{query}" if query else self.path


def states(values: Sequence[str]) -> list[tuple[str, str]]:
    """Options for the states of a machine."""
    return [("", "All"), *((value, value.replace("_", " ").capitalize()) for value in values)]
