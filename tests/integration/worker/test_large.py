"""What a job takes of a data set that is larger than it needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conftest import Erase
from tests.integration.worker.disturbing import at_step
from worker.context import Context
from worker.engine import Engine


def test_a_job_takes_a_bounded_part_of_what_remains_and_of_the_test_split(
    engine: Engine, erase: Erase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.context.MOST_REMAINING", 300)
    monkeypatch.setattr("worker.context.MOST_TESTED", 100)
    seen: dict[str, Any] = {}

    def look(context: Context) -> None:
        seen["remaining"], seen["test"] = context.remaining, context.test
        seen["erased"] = context.erased

    at_step(monkeypatch, "verifying", look)
    job, request = erase("subject-trigger")
    assert (job.state, request.outcome) == ("succeeded", "erased")
    assert (len(seen["remaining"]), len(seen["test"])) == (300, 100)
    pixels = {image.tobytes() for image in seen["erased"].images}
    assert not any(image.numpy().tobytes() in pixels for image in seen["remaining"].images)
