"""A long run goes on where a worker that died left it, to the same bits; then scratch is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core import holding, jobs, points, requests
from core.records import Job, Version
from tests.integration.conftest import look
from tests.integration.worker.disturbing import (
    Killed,
    Outcome,
    asked,
    copied_home,
    expire,
    killed_at,
    result,
    scratch,
)
from worker import resuming as resuming_module
from worker import tasks
from worker.engine import Engine
from worker.sweep import Sweep


@pytest.fixture(scope="module")
def undisturbed(
    trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Outcome]:
    """What a job with this strategy ends in when nobody disturbs it; run once each."""

    @cache
    def of(strategy: str) -> Outcome:
        home = tmp_path_factory.mktemp(strategy) / "home"
        with copied_home(trained, home, lease_seconds=5) as engine:
            ids = asked(engine, strategy)
            tasks.work(engine, "alone")
            return result(engine, *ids)

    return of


@pytest.mark.parametrize(
    ("strategy", "point", "nth"),
    [
        ("rfu_ss", "unlearn:step", 6),
        ("retrain", "retrain:step", 3),
        ("rfu_ss", "scratch:before-write", 40),
        ("retrain", "scratch:after-write", 60),
        ("rfu_ss", "checkpoint:after-write", 30),
        ("rfu_ss", "candidate:before-commit", 1),
        ("rfu_ss", "candidate:after-commit", 1),
    ],
)
def test_taken_over_mid_way_it_ends_in_the_same_bits(
    engine: Engine,
    undisturbed: Callable[[str], Outcome],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    strategy: str,
    point: str,
    nth: int,
) -> None:
    ids = asked(engine, strategy)
    killed_at(engine, monkeypatch, point, nth)
    assert len(scratch(engine)) in (1, 2)
    with caplog.at_level(logging.INFO):
        tasks.work(engine, "second")
    one, two = undisturbed(strategy), result(engine, *ids)
    assert one[0] == two[0], "the candidate's SHA-256"
    own = ("seconds", "version_id")
    first, second = ({k: v for k, v in each[1].items() if k not in own} for each in (one, two))
    assert first == second
    if point != "candidate:after-commit":
        assert "goes on from step" in caplog.text
    assert "begins anew" not in caplog.text


def test_what_remembers_is_gone_before_the_request_is_completed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = asked(engine)
    killed_at(engine, monkeypatch, "candidate:after-commit", 1)
    assert scratch(engine) != []
    with monkeypatch.context() as patch:
        patch.setattr(resuming_module, "forget_where", lambda _: None)
        patch.setattr(points, "_watcher", lambda name: _die_at(name, "sign:before", engine))
        with pytest.raises(Killed):
            tasks.work(engine, "second")
    expire(engine)
    tasks.work(engine, "third")
    result(engine, *ids)


def _die_at(name: str, point: str, engine: Engine) -> None:
    if name == point:
        assert scratch(engine) == []
        raise Killed


def harm_bytes(engine: Engine) -> None:
    [path] = (engine.backend.settings.home / "store" / "scratch").iterdir()
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")


def harm_state(engine: Engine) -> None:
    """Sound bytes under a sound name, of no run."""
    [name] = scratch(engine)
    kept = engine.backend.scratch.latest(name.partition(".")[0])
    assert kept is not None
    engine.backend.scratch.write(name.partition(".")[0], 1, 3, kept.arrays, {"state": "{}"})


def harm_seed(engine: Engine) -> None:
    """Scratch of another run: the job's seed is another."""
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(seed=8))


@pytest.mark.parametrize("harm", [harm_bytes, harm_state, harm_seed])
def test_damaged_or_foreign_scratch_is_ignored_with_a_warning(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Engine], None],
) -> None:
    ids = asked(engine)
    killed_at(engine, monkeypatch, "unlearn:step", 6)
    harm(engine)
    with caplog.at_level(logging.WARNING):
        tasks.work(engine, "second")
    result(engine, *ids)
    assert "cannot be used" in caplog.text or "begins anew" in caplog.text


def test_scratch_that_cannot_be_kept_or_read_costs_only_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    ids = asked(engine)
    monkeypatch.setattr(engine.backend.settings, "checkpoint_seconds", 0.05)
    for name in ("write", "latest"):
        monkeypatch.setattr(type(engine.backend.scratch), name, broken)
    with caplog.at_level(logging.WARNING):
        tasks.work(engine, "alone")
    result(engine, *ids)
    assert "could not be kept" in caplog.text
    assert "cannot be read" in caplog.text


def test_a_cancelled_job_leaves_no_scratch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, request_id = asked(engine)
    killed_at(engine, monkeypatch, "unlearn:step", 6)
    with engine.backend.db.transaction() as tx:
        requests.end(tx, request_id, "cancelled", "the person changed their mind")
    tasks.work(engine, "second")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state, scratch(engine)) == ("cancelled", "cancelled", [])


def test_sweep_removes_the_scratch_of_jobs_that_ended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(engine)
    killed_at(engine, monkeypatch, "unlearn:step", 6)
    sweep = Sweep(engine.backend, "me")
    sweep.purge()
    assert len(scratch(engine)) == 1, "whoever takes the job over needs it"
    held = holding.claim(engine.backend.db, "other", engine.backend.settings)
    assert held is not None
    holding.fail(engine.backend.db, held, "a fault", engine.backend.settings, retry=False)
    sweep.purge()
    assert scratch(engine) == []


def test_sweep_removes_candidates_that_no_job_will_publish(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a job that was rejected, or whose attempt failed while it was verified."""
    asked(engine)
    killed_at(engine, monkeypatch, "candidate:after-commit", 1)
    sweep = Sweep(engine.backend, "me")
    sweep.purge()
    assert len(engine.backend.checkpoints.digests()) == 3, "serving, teacher and the candidate"
    held = holding.claim(engine.backend.db, "other", engine.backend.settings)
    assert held is not None
    with engine.backend.db.transaction() as tx:
        holding.give_to_person(tx, holding.check(tx, held), "look")
    sweep.purge()
    assert len(engine.backend.checkpoints.digests()) == 3, "a reviewer may approve it"
    with engine.backend.db.transaction() as tx:
        jobs.reject(tx, held.job_id, "it forgot too much")
    sweep.purge()
    assert len(engine.backend.checkpoints.digests()) == 2
    with engine.backend.db.reading() as session:
        states = sorted(v.state for v in session.query(Version))
    assert states == ["destroyed", "serving"]
