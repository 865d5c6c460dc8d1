"""How tests get between the steps of a job."""

from __future__ import annotations

from typing import Any

import pytest

from core.intake import NewRequest, submit
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


class Killed(BaseException):
    """As abrupt as a test in one process can be: nothing in the worker catches it."""
