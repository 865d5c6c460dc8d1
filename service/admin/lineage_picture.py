"""A model's lineage as a picture: lanes of a graph, newest on top, a row a version.

Each row is drawn by itself, lines from edge to edge, so that rows may be as high as their words
need; the words stand beside it, and are what a screen reader reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.lineage import Step

LANE = 22
"""Pixels from lane to lane."""
MARGIN = 14


@dataclass(frozen=True)
class Line:
    """From the top, the node or the middle (x1) to the node or the bottom (x2), in pixels.

    y1, y2: in per cent of the row. exact: trained anew; drawn broken, for nothing was handed on.
    """

    x1: int
    x2: int
    y1: int
    y2: int
    exact: bool


@dataclass(frozen=True)
class Row:
    """One version: where its node lies, and the lines that cross its row. width: of all rows."""

    step: Step
    x: int
    width: int
    lines: Sequence[Line]


def draw(steps: Sequence[Step]) -> list[Row]:
    """Rows for versions from newest to oldest, as `core.lineage` gives them.

    A lane waits for one parent; versions with the same parent meet at its node.
    """
    waiting: list[int | None] = []  # by lane: the number of the parent that it leads to
    exact: list[bool] = []
    drawn: list[tuple[Step, int, list[Line]]] = []
    for step in steps:
        number = step.version.number
        arriving = [lane for lane, parent in enumerate(waiting) if parent == number]
        lane = arriving[0] if arriving else _free(waiting, exact)
        lines = [_line(each, lane, 0, 50, exact[each]) for each in arriving]
        passing = [each for each, parent in enumerate(waiting) if parent not in (None, number)]
        lines += [_line(each, each, 0, 100, exact[each]) for each in passing]
        for each in arriving:
            waiting[each] = None
        if step.parent is not None:
            waiting[lane], exact[lane] = step.parent, step.exact
            lines.append(_line(lane, lane, 50, 100, step.exact))
        drawn.append((step, lane, lines))
    width = 2 * MARGIN + LANE * max(0, len(waiting) - 1)
    return [Row(step, _x(lane), width, lines) for step, lane, lines in drawn]


def _free(waiting: list[int | None], exact: list[bool]) -> int:
    """The first lane that leads nowhere; a new one where all lead somewhere."""
    for lane, parent in enumerate(waiting):
        if parent is None:
            return lane
    waiting.append(None)
    exact.append(False)
    return len(waiting) - 1


def _line(start: int, end: int, y1: int, y2: int, exact: bool) -> Line:
    return Line(_x(start), _x(end), y1, y2, exact)


def _x(lane: int) -> int:
    return MARGIN + LANE * lane
