"""What a job's page draws: the curves of its runs, thinned, and histograms of scores.

Kept beside the jobs, not in their rows: lists of jobs and those who poll one carry nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.db import Transaction
from core.records import JobPlot

MOST_POINTS = 200
"""Of one run. At more, every second one goes, and later ones are taken half as often."""

FIGURES = ("forget_loss", "remember_loss", "alpha", "forget_norm", "remember_norm")
"""What a point holds after its step; None for what a run has not."""


@dataclass
class Run:
    """One run of a job: what it did (the phase), on which rung. every: steps between points."""

    phase: str
    rung: int
    every: int
    points: list[list[float | None]]

    def add(self, step: int, figures: Mapping[str, Any]) -> None:
        """A point, unless the last one is too near. Points from `step` on are of a lost try."""
        if self.points and (self.points[-1][0] or 0) >= step:
            self.points = [point for point in self.points if (point[0] or 0) < step]
        if self.points and step - (self.points[-1][0] or 0) < self.every:
            return
        self.points.append([step, *(_rounded(figures.get(name)) for name in FIGURES)])
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self.every = int((self.points[1][0] or 0) - (self.points[0][0] or 0))


class Curves:
    """The runs of a job so far, the latest one last; `changed` since they were kept."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        self.changed = False

    def add(self, phase: str, rung: int, step: int, figures: Mapping[str, Any]) -> None:
        """A step of the run in this phase, on this rung."""
        run = next((each for each in self.runs if (each.phase, each.rung) == (phase, rung)), None)
        if run is None:
            run = Run(phase, rung, 1, [])
            self.runs.append(run)
        run.add(step, figures)
        self.changed = True

    def kept(self) -> list[dict[str, Any]]:
        """To be stored."""
        return [vars(run) for run in self.runs]


def curves(session: Session, job_id: str) -> Curves:
    """The job's curves; empty for one that has not run."""
    found = session.get(JobPlot, job_id)
    return Curves([Run(**run) for run in found.curves["runs"]] if found else [])


def scores(session: Session, job_id: str) -> dict[str, Any] | None:
    """Histograms by score: edges, and counts of erased and held-out samples, before and after."""
    found = session.get(JobPlot, job_id)
    return found.scores if found else None


def keep_curves(tx: Transaction, job_id: str, curves: Curves) -> None:
    """Store them; the job's row must be locked."""
    _plot(tx, job_id).curves = {"runs": curves.kept()}
    curves.changed = False


def keep_scores(tx: Transaction, job_id: str, histograms: dict[str, Any]) -> None:
    """Store them; the job's row must be locked."""
    _plot(tx, job_id).scores = histograms


def _plot(tx: Transaction, job_id: str) -> JobPlot:
    found = tx.session.get(JobPlot, job_id)
    if found is None:
        found = JobPlot(job_id=job_id, curves={"runs": []})
        tx.session.add(found)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
