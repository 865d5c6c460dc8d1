"""A small trained model on the bundled digits, copied afresh for each test.

engine     an Engine on a copy of `trained`; wake-ups go nowhere, tests claim by hand
erase      posts a request for a subject and runs its job to the end
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.backend import Backend, open_backend
from core.intake import NewRequest, submit
from core.records import ErasureRequest, Job
from core.settings import Settings
from tests.conftest import SECRET
from worker import tasks
from worker.engine import Engine

Erase = Callable[[str], tuple[Job, ErasureRequest]]


@pytest.fixture
def engine(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    seeds = iter(range(1000))
    monkeypatch.setattr("core.enlist.new_seed", lambda: next(seeds))  # a run is like another
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    settings = Settings(home=home, secret=SECRET, lease_seconds=5, replica_lease_seconds=2)
    backend = open_backend(settings, send=lambda _: None)
    yield Engine(backend, "cpu")
    backend.close()


def backend_of(engine: Engine) -> Backend:
    return engine.backend


@pytest.fixture
def erase(engine: Engine) -> Erase:
    def run(subject: str) -> tuple[Job, ErasureRequest]:
        wanted = NewRequest(model="digits", subject_id=subject)
        submitted = submit(engine.backend, wanted, key_id=None)
        assert tasks.work(engine, "by hand") == submitted.job_ids[0]
        return look(engine, submitted.job_ids[0], submitted.request.id)

    return run


def look(engine: Engine, job_id: str, request_id: str) -> tuple[Job, ErasureRequest]:
    with engine.backend.db.reading() as session:
        return session.get_one(Job, job_id), session.get_one(ErasureRequest, request_id)
