"""Costs from the records: only what one worker began and ended, retrainings apart."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core import registry
from core.backend import Backend
from core.capacity.costs import Costs, measured
from core.errors import Invalid
from core.records import AuditEvent, Job
from tests.cli import Commands
from tests.conftest import SECRET
from tests.factories import submit, with_model
from tests.integration.core.helpers import advance, claimed


def ended(backend: Backend, subject: str, seconds: float, samples: int, **values: Any) -> None:
    """A job that ends after so many seconds."""
    submit(backend, subject, strategy=values.pop("strategy", None))
    held = claimed(backend)
    advance(backend, held, ["verifying", "publishing", "destroying", "succeeded"])
    with backend.db.transaction() as tx:
        began = tx.session.get_one(Job, held.job_id).started_at
        assert isinstance(began, datetime)
        done = began + timedelta(seconds=seconds)
        given = {"finished_at": done, "published_at": done, "verification": {"erased": samples}}
        tx.session.execute(update(Job).where(Job.id == held.job_id).values(**given | values))


def costs(backend: Backend) -> Costs:
    with backend.db.reading() as session:
        return measured(session, registry.model_named(session, "digits"), checkpoint_mb=2.5)


def test_what_is_on_record(backend: Backend) -> None:
    with_model(backend)
    with pytest.raises(Invalid, match="no erasure job of model 'digits' has ended yet"):
        costs(backend)
    ended(backend, "subject-0", 4.0, 2)
    one = costs(backend)
    assert (one.fixed_seconds, one.sample_seconds, one.spread) == (4.0, 0.0, (1.0,))
    assert one.retrain_seconds == 80.0
    assert [each.partition(":")[0] for each in one.assumed] == ["retrain_seconds", "sample_seconds"]
    ended(backend, "subject-1", 6.0, 4)
    ended(backend, "subject-2", 700.0, 2, fence=3)
    ended(backend, "subject-3", 700.0, 2, published_at=None)
    ended(backend, "subject-4", 50.0, 2, strategy="retrain")
    found = costs(backend)
    assert (found.fixed_seconds, found.sample_seconds) == (pytest.approx(2), pytest.approx(1))
    assert (found.retrain_seconds, found.jobs, found.assumed) == (50.0, 2, ())
    assert (found.samples_per_subject, found.trained, found.checkpoint_mb) == (3.0, 90, 2.5)
    assert found.request_kb > 1
    assert found.job_kb > 1
    assert found.origin == "2 jobs of model 'digits' on record"


def test_phases_are_read_from_the_audit_chain(sqlite_backend: Backend) -> None:
    with_model(sqlite_backend)
    ended(sqlite_backend, "subject-0", 10.0, 2)
    with sqlite_backend.db.transaction() as tx:
        moves = update(AuditEvent).where(AuditEvent.noun == "job", AuditEvent.event == "moved")
        start = tx.now
        for state, after in (("running", 0), ("verifying", 6), ("publishing", 9),
                             ("destroying", 9), ("succeeded", 10)):  # fmt: skip
            of = AuditEvent.data["to"].as_string() == state
            tx.session.execute(moves.where(of).values(at=start + timedelta(seconds=after)))
    found = costs(sqlite_backend).phases
    assert found == {"running": 0.6, "verifying": 0.3, "publishing": 0.0, "destroying": 0.1}


def test_the_command_plans_from_what_is_on_record(
    sqlite_backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_model(sqlite_backend)
    ended(sqlite_backend, "subject-0", 4.0, 2)
    variables = {"LETHE_HOME": str(sqlite_backend.settings.home), "LETHE_SECRET": SECRET}
    commands = Commands(monkeypatch, capsys, sqlite_backend.settings.home, variables)
    found = commands.json("capacity", "--model", "digits", "--requests-per-day", "50")
    assert found["costs"]["fixed_seconds"] == 4.0
    assert 0 < found["costs"]["checkpoint_mb"] < 0.01
    assert found["policies"][0]["p50"] == pytest.approx(4.0, abs=1)
    assert found["policies"][0]["retrainings"] >= 1, "of 90 samples each request erases a 45th"
