"""Memory that runs out: smaller minibatches first, then a person is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core import registry
from tests.integration.conftest import look
from tests.integration.worker.disturbing import asked, result
from worker import memory, tasks
from worker.context import Context
from worker.engine import Engine

SPENT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
]


@pytest.mark.parametrize(
    ("strategy", "method", "error"),
    [*(("rfu_ss", "unlearn", error) for error in SPENT), ("retrain", "train", SPENT[0])],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_memory_that_runs_out_halves_the_minibatches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, strategy: str, method: str, error: Exception
) -> None:
    import worker.forget

    real, tried = getattr(worker.forget, method), []

    def greedy(*args: Any, **options: Any) -> Any:
        size = options["halvings"] if method == "unlearn" else args[2].batch
        tried.append(size)
        if len(tried) < 3:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(worker.forget, method, greedy)
    with engine.backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.training = {**model.training, "epochs": 10}
    ids = asked(engine, strategy)
    tasks.work(engine, "alone")
    _, candidate = result(engine, *ids)
    assert tried[:3] in ([0, 1, 2], [tried[0], tried[0] // 2, tried[0] // 4])
    assert "memory ran out: the minibatches were a 4th of what is usual" in candidate["warnings"]
    job, _ = look(engine, *ids)
    assert job.verification is not None
    assert candidate["warnings"] == job.verification["warnings"]
    assert job.attempts == 0


def test_where_nothing_fits_a_person_is_told_what_to_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("worker.forget.unlearn", greedy)
    job_id, request_id = asked(engine)
    tasks.work(engine, "alone")
    job, request = look(engine, job_id, request_id)
    assert (job.state, request.state, job.attempts) == ("needs_review", "needs_review", 1)
    assert job.error is not None
    assert "with minibatches of a 16th of the usual size too" in job.error
    assert "Give the worker a machine with more memory" in job.error
    assert "Traceback" not in job.error


def test_other_faults_are_not_taken_for_a_want_of_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Context) -> None:
        raise RuntimeError("shape mismatch")

    assert not memory.ran_out(ValueError("out of memory"))
    monkeypatch.setattr("worker.forget.resumable", lambda *_: broken(*_[:1]))
    job_id, request_id = asked(engine)
    tasks.work(engine, "alone")
    job, _ = look(engine, job_id, request_id)
    assert (job.state, job.error) == ("queued", "RuntimeError: shape mismatch")
