"""The teacher beside a model: made again when it is not what is asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core import registry
from core.checkpoints import Checkpoint
from tests.integration.conftest import look
from tests.integration.worker.disturbing import submitted
from unlearning import Teacher, initialise
from worker import tasks
from worker.engine import Engine


@pytest.mark.parametrize("fault", ["missing", "of an older format", "of another architecture"])
def test_a_teacher_that_cannot_be_read_is_made_again(engine: Engine, fault: str) -> None:
    backend = engine.backend
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        teacher = registry.teacher_of(tx.session, model.id)
        assert teacher is not None
        checkpoint = backend.checkpoints.read(teacher.digest)
        backend.checkpoints.destroy(teacher.digest)
        if fault == "of an older format":
            old = {"teacher": checkpoint.metadata["teacher"].replace('"format": ', '"format": 9')}
            teacher.digest = backend.checkpoints.write(checkpoint.arrays, old).digest
        elif fault == "of another architecture":
            teacher.digest = engine.save_teacher(of_another_architecture(checkpoint)).digest
        before = teacher.digest
    job_id, request_id = submitted(engine)
    tasks.work(engine, "by hand")
    job, _ = look(engine, job_id, request_id)
    assert job.state == "succeeded"
    with backend.db.reading() as session:
        teacher = registry.teacher_of(session, model.id)
    assert teacher is not None
    assert backend.checkpoints.exists(teacher.digest)
    assert fault == "missing" or not backend.checkpoints.exists(before)


def of_another_architecture(stored: Checkpoint) -> Teacher:
    """A teacher made from the same references, by models that the preset no longer asks for."""
    whole = Teacher.load(stored.arrays, json.loads(stored.metadata["teacher"]))
    narrow = replace(whole.architecture, hidden=4)
    models = tuple(initialise(narrow, fold) for fold in range(len(whole.models)))
    return replace(whole, models=models)
