"""Curves and histograms of jobs: bounded, kept beside the jobs, gone on with after a lost try."""

from __future__ import annotations

import itertools

from core import holding, jobs, plots
from core.backend import Backend
from tests import factories


def figures(step: int) -> dict[str, float]:
    return dict.fromkeys(plots.FIGURES, step / 3)


def test_a_run_keeps_so_many_points_from_its_first_step_to_its_last_ones() -> None:
    curves = plots.Curves([])
    for step in range(1, 10_001):
        curves.add("unlearning", 0, step, figures(step))
    [run] = curves.runs
    steps = [point[0] or 0 for point in run.points]
    assert plots.MOST_POINTS / 2 <= len(steps) <= plots.MOST_POINTS
    assert steps[0] == 1
    assert steps[-1] > 10_000 - run.every
    assert {b - a for a, b in itertools.pairwise(steps)} == {run.every}
    assert run.points[-1][1] == float(f"{(steps[-1]) / 3:.5g}")


def test_each_rung_and_phase_has_a_run_and_one_that_begins_anew_replaces_what_it_repeats() -> None:
    curves = plots.Curves([])
    for step in range(1, 6):
        curves.add("unlearning", 0, step, figures(step))
    curves.add("unlearning", 1, 1, figures(1))
    curves.add("retraining beside", 1, 1, {"remember_loss": 2.0})
    curves.add("unlearning", 0, 3, figures(3))  # taken over, from a snapshot of step 2 on
    assert [(run.phase, run.rung) for run in curves.runs] == [
        ("unlearning", 0),
        ("unlearning", 1),
        ("retraining beside", 1),
    ]
    assert [point[0] for point in curves.runs[0].points] == [1, 2, 3]
    assert curves.runs[2].points == [[1, None, 2.0, None, None, None]]


def test_curves_are_kept_with_the_progress_and_found_again(backend: Backend) -> None:
    factories.with_model(backend)
    factories.submit(backend)
    held = holding.claim(backend.db, "a test", backend.settings)
    assert held is not None
    with backend.db.reading() as session:
        curves = plots.curves(session, held.job_id)
        assert curves.runs == []
        assert plots.scores(session, held.job_id) is None
    for step in (1, 2):
        curves.add("unlearning", 0, step, figures(step))
        holding.report(backend.db, held, dict(jobs.NO_PROGRESS), curves)
        assert not curves.changed
    with backend.db.transaction() as tx:
        plots.keep_scores(tx, held.job_id, {"margin": {"edges": [0.0, 1.0]}})
    with backend.db.reading() as session:
        assert plots.curves(session, held.job_id).kept() == curves.kept()
        assert plots.scores(session, held.job_id) == {"margin": {"edges": [0.0, 1.0]}}
