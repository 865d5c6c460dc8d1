"""How tests get between the steps of a job."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core import points, requests
from core.backend import open_backend
from core.intake import NewRequest, submit
from core.records import Job, Version
from core.settings import Settings
from tests.conftest import SECRET
from tests.integration.conftest import look
from worker import erase as erase_module
from worker import tasks
from worker.context import Context
from worker.engine import Engine


def submitted(engine: Engine, **values: Any) -> tuple[str, str]:
    submitted = submit(
        engine.backend, NewRequest("digits", "subject-trigger", **values), key_id=None
    )
    return submitted.job_ids[0], submitted.request.id


def at_step(monkeypatch: pytest.MonkeyPatch, state: str, act: Any) -> None:
    """Run `act(context)` just before the step of this state."""
    step = erase_module.STEPS[state]

    def changed(context: Context) -> str:
        act(context)
        return step(context)

    monkeypatch.setitem(erase_module.STEPS, state, changed)


def cancel(context: Context, request_id: str) -> None:
    """Withdraw the request, and wait until the job's heart has heard of it."""
    with context.engine.backend.db.transaction() as tx:
        requests.end(tx, request_id, "cancelled", "the person changed their mind")
    until = time.monotonic() + 5
    while not context.heart.cancelled and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def copied_home(trained: Path, home: Path, **values: Any) -> Iterator[Engine]:
    """An engine on a copy of this home, with these settings."""
    shutil.copytree(trained, home)
    settings = Settings(home=home, secret=SECRET, **values)
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        yield Engine(backend, "cpu")


@contextmanager
def two_homes(trained: Path, folder: Path, **values: Any) -> Iterator[tuple[Engine, Engine]]:
    """Two copies of one home."""
    one, two = (copied_home(trained, folder / name, **values) for name in ("one", "two"))
    with one as first, two as second:
        yield first, second


class Killed(BaseException):
    """As abrupt as a test in one process can be: nothing in the worker catches it."""


Outcome = tuple[str, dict[str, Any]]
"""A published version's digest, and its job's record of it."""


def asked(engine: Engine, strategy: str = "rfu_ss") -> tuple[str, str]:
    """Submit a request whose job's seed is 7; returns the ids of the job and the request."""
    ids = submitted(engine, strategy=strategy)
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(seed=7))
    return ids


def expire(engine: Engine) -> None:
    """Let every lease run out."""
    with engine.backend.db.transaction() as tx:
        tx.session.execute(update(Job).values(lease_until=tx.now - timedelta(seconds=1)))


def killed_at(engine: Engine, monkeypatch: pytest.MonkeyPatch, point: str, nth: int) -> None:
    """Run the next job until the `nth` time that it reaches the point; each step is kept."""
    seen = []
    settings = engine.backend.settings

    def watch(name: str) -> None:
        seen.extend([name] if name == point else [])
        if len(seen) == nth:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(points, "_watcher", watch)
        patch.setattr(settings, "checkpoint_seconds", 1e-9)
        with pytest.raises(Killed):
            tasks.work(engine, "first")
    expire(engine)


def scratch(engine: Engine) -> list[str]:
    """Names of what is kept of runs under way."""
    return engine.backend.scratch._names()


def result(engine: Engine, job_id: str, request_id: str) -> Outcome:
    """The digest of what was published, and the job's record of it."""
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state) == ("succeeded", "completed"), job.error
    assert scratch(engine) == []
    with engine.backend.db.reading() as session:
        version = session.get_one(Version, job.result_version_id)
    assert job.candidate is not None
    return version.digest, job.candidate
