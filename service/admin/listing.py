"""Lists: filters in the address, pages by cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    following: of the next page, None on the last; first: is this the first page? also: what is
    searched for besides the filters.
    """

    path: str
    filters: Sequence[Filter] = ()
    following: str | None = None
    first: bool = True
    also: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set."""
        every = {each.name: each.value for each in self.filters} | dict(self.also)
        return {name: value for name, value in every.items() if value}

    def at(self, below: str = "", **others: str | None) -> str:
        """The address with the filters, and others: at(cursor=...); or of a path below it."""
        named: Mapping[str, str | None] = {**self.chosen, **others}
        query = urlencode({name: value for name, value in named.items() if value})
        return f"{self.path}{below}?{query}" if query else self.path + below


def states(values: Sequence[str]) -> list[tuple[str, str]]:
    """Options for the states of a machine."""
    return [("", "All"), *((value, value.replace("_", " ").capitalize()) for value in values)]


def names(values: Sequence[str]) -> list[tuple[str, str]]:
    """Options for things that have names."""
    return [("", "All"), *((value, value) for value in values)]
