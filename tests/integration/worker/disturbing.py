"""How tests get between the steps of a job."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from core import requests
from core.backend import open_backend
from core.intake import NewRequest, submit
from core.settings import Settings
from tests.conftest import SECRET
from worker import erase as erase_module
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
def two_homes(trained: Path, folder: Path, **values: Any) -> Iterator[tuple[Engine, Engine]]:
    """Two copies of one home, with these settings."""
    with ExitStack() as opened:
        engines = []
        for name in ("one", "two"):
            shutil.copytree(trained, folder / name)
            settings = Settings(home=folder / name, secret=SECRET, **values)
            backend = opened.enter_context(closing(open_backend(settings, send=lambda _: None)))
            engines.append(Engine(backend, "cpu"))
        yield engines[0], engines[1]


class Killed(BaseException):
    """As abrupt as a test in one process can be: nothing in the worker catches it."""
