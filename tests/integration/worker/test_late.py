"""A model that is trained while a request is open owes it as much as the others do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core import registry, requests
from core.errors import Conflict
from core.intake import NewRequest, submit
from core.records import ErasureRequest
from tests.integration.conftest import look
from worker import tasks, train
from worker.engine import Engine
from worker.train import first_training


def while_training(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, happens: Callable[[], None]
) -> None:
    """Train a second model on the data set; `happens` after its samples were read."""
    real = train.figures_of

    def figures(*given: object) -> object:
        happens()
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "figures_of", figures)
    first_training(engine.backend, "second", "digits", epochs=25, device="cpu")


def test_a_request_that_comes_meanwhile_is_carried_out_by_the_new_model_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[str] = []

    def ask() -> None:
        wanted = NewRequest("digits", "subject-20")
        came.append(submit(engine.backend, wanted, key_id=None).request.id)

    while_training(monkeypatch, engine, ask)
    backend = engine.backend
    with backend.db.reading() as session:
        model = registry.model_named(session, "second")
        first = registry.serving(session, model.id)
        assert first is not None
        assert registry.taints(session, [first.id]) == {first.id: came}
        jobs = requests.jobs_of(session, came[0])
    assert {job.model_id for job in jobs} >= {model.id}
    assert len(jobs) == 2
    assert tasks.work(engine, "one") is not None
    _, request = look(engine, jobs[0].id, came[0])
    assert request.state == "in_progress", "one of two models has forgotten"
    assert tasks.work(engine, "other") is not None
    _, request = look(engine, jobs[0].id, came[0])
    assert (request.state, request.outcome) == ("completed", "erased")
    assert not backend.checkpoints.exists(first.digest)
    with backend.db.reading() as session:
        assert set(requests.certificate_of(session, came[0]).split('"')) >= {"digits", "second"}
        newest = registry.serving(session, model.id)
        assert newest is not None
        assert registry.taints(session, [newest.id]) == {}


def test_a_request_whose_samples_may_be_gone_refuses_the_model(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen them, and no job could find them any more."""

    def begin_to_destroy() -> None:
        submitted = submit(engine.backend, NewRequest("digits", "subject-20"), key_id=None)
        monkeypatch.setitem(tasks.erase.STEPS, "destroying", _stuck)
        tasks.work(engine, "by hand")
        job, _ = look(engine, submitted.job_ids[0], submitted.request.id)
        assert job.published_at is not None

    with pytest.raises(Conflict, match="train again once it is completed"):
        while_training(monkeypatch, engine, begin_to_destroy)
    with engine.backend.db.reading() as session:
        second = registry.model_named(session, "second")
        assert registry.versions(session, second.id) == []
        states = [r.state for r in session.query(ErasureRequest).all()]
    assert "completed" not in states


def _stuck(_: object) -> str:
    raise OSError("the disk is full")
