"""Pictures that the server draws, as SVG: intervals against bounds, histograms, bars.

Each here is numbers in the picture's own units; the macros of `_graphs.html` make SVG of them.
What they show stands as text or as a table beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 220.0, 22.0
"""Of an interval."""
PLOT_WIDTH, PLOT_HEIGHT = 480.0, 150.0
"""Of a histogram or of bars, without the labels around."""


@dataclass(frozen=True)
class Interval:
    """A figure and its interval, drawn against what is allowed; x from 0 to WIDTH.

    allowed: from, to. what: the same in words.
    """

    low: float
    high: float
    figure: float
    allowed: tuple[float, float]
    tone: str
    what: str


def interval(gate: Mapping[str, Any]) -> Interval:
    """A gate's. The picture spans the interval and the bounds that are near it, with a margin.

    Losses and rises are allowed from -1 on: any gain is.
    """
    low, high, figure = gate["low"], gate["high"], gate["statistic"]
    near = [bound for bound in (gate["least"], gate["most"]) if abs(bound) < 1.0]
    near = near or [gate["least"], gate["most"]]
    points = [low, high, figure, *near]
    left, right = min(points), max(points)
    margin = 0.12 * (right - left) or 0.1
    left, right = left - margin, right + margin

    def x(value: float) -> float:
        share = (min(max(value, left), right) - left) / (right - left)
        return float(round(WIDTH * share, 1))

    tone = {"PASS": "good", "INCONCLUSIVE": "doubt", "FAIL": "bad"}[gate["verdict"]]
    what = f"{figure:.3f}, interval {low:.3f} to {high:.3f}, "
    what += f"allowed {gate['least']:.3f} to {gate['most']:.3f}"
    return Interval(x(low), x(high), x(figure), (x(gate["least"]), x(gate["most"])), tone, what)


@dataclass(frozen=True)
class Histogram:
    """Two sets over the same bins, as shares of each. erased, heldout: outlines, as SVG paths;
    rows: (from, to, erased, held-out), counts; ends: the outermost edges."""

    title: str
    erased: str
    heldout: str
    rows: Sequence[tuple[float, float, int, int]]
    ends: tuple[float, float]


SCORES = {
    "margin": "Margin: what the prediction knows of the label",
    "representation": "Divergence of the representation, nats",
}


def histograms(scores: Mapping[str, Any] | None) -> list[tuple[Histogram, Histogram]]:
    """Before and after, for each score; empty where nothing was verified."""
    return [
        (_histogram(name, scores[name], "before"), _histogram(name, scores[name], "after"))
        for name in SCORES
        if scores is not None and name in scores
    ]


def _histogram(name: str, found: Mapping[str, Any], when: str) -> Histogram:
    edges = found["edges"]
    erased, heldout = found[f"erased_{when}"], found[f"heldout_{when}"]
    every = [found[f"{which}_{each}"] for which in ("erased", "heldout") for each in _WHEN]
    top = max(max(counts) / max(sum(counts), 1) for counts in every) or 1.0
    return Histogram(
        title=f"{SCORES[name]}, {when}",
        erased=_outline(erased, top),
        heldout=_outline(heldout, top),
        rows=list(zip(edges, edges[1:], erased, heldout, strict=False)),
        ends=(edges[0], edges[-1]),
    )


_WHEN = ("before", "after")


def _outline(counts: Sequence[int], top: float) -> str:
    total, width = max(sum(counts), 1), PLOT_WIDTH / len(counts)
    path = [f"M0 {PLOT_HEIGHT:g}"]
    for number, count in enumerate(counts):
        y = PLOT_HEIGHT * (1 - count / total / top)
        path.append(f"L{number * width:.1f} {y:.1f}L{(number + 1) * width:.1f} {y:.1f}")
    return "".join([*path, f"L{PLOT_WIDTH:g} {PLOT_HEIGHT:g}Z"])


@dataclass(frozen=True)
class Bar:
    """One bar: its left edge, its width, its top and its height; said: its value in words; a
    label below."""

    x: float
    width: float
    y: float
    height: float
    said: str
    label: str


def bars(values: Sequence[tuple[str, float, str]]) -> list[Bar]:
    """(label, value, said) as bars, the highest of which takes the whole height."""
    top = max((value for _, value, _ in values), default=0.0) or 1.0
    slot = PLOT_WIDTH / max(len(values), 1)
    made = []
    for number, (label, value, said) in enumerate(values):
        height = round(PLOT_HEIGHT * value / top, 1)
        x = round(number * slot + 0.15 * slot, 1)
        made.append(
            Bar(x, round(0.7 * slot, 1), round(PLOT_HEIGHT - height, 1), height, said, label)
        )
    return made
