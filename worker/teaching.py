"""The teacher of a model: made with it, kept beside it, made again when R changes."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from core import registry
from core.checkpoints import CheckpointCorrupt, CheckpointMissing
from core.records import Model
from unlearning import (
    PRESETS,
    Architecture,
    Samples,
    Teacher,
    TrainProgress,
    preset_for,
    references_digest,
    train_teacher,
)
from worker.engine import Engine


def current_teacher(
    engine: Engine,
    model: Model,
    references: Samples,
    *,
    seed: int,
    on_progress: Callable[[TrainProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Teacher:
    """The teacher made from exactly these references: the stored one, or a new one.

    A stored teacher that is missing, damaged, of an older format or architecture, or made from
    other references (one of them was erased) is replaced, and its file destroyed. Raises
    `Cancelled` as `train_teacher` does.
    """
    architecture = Architecture.from_dict(model.architecture)
    preset = PRESETS.get(model.training.get("preset", ""), preset_for(architecture.input_shape))
    with engine.backend.db.reading() as session:
        stored = _digest(session, model.id)
    if stored is not None:
        try:
            teacher = engine.load_teacher(stored)
        except (CheckpointMissing, CheckpointCorrupt, ValueError):
            pass  # lost, damaged or of an older format: it can be made again
        else:
            wanted = (preset.teacher.judge(architecture), references_digest(references))
            if (teacher.architecture, teacher.references_digest) == wanted:
                return teacher
    teacher = train_teacher(
        architecture,
        references,
        preset.teacher,
        seed=seed,
        device=engine.device,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    made = engine.save_teacher(teacher)
    with engine.backend.db.transaction() as tx:
        registry.lock_model(tx, model.id)
        stored = _digest(tx.session, model.id)
        registry.set_teacher(tx, model.id, made.digest)
    if stored is not None and stored != made.digest:
        engine.backend.checkpoints.destroy(stored)
    return teacher


def _digest(session: Session, model_id: str) -> str | None:
    teacher = registry.teacher_of(session, model_id)
    return teacher.digest if teacher else None
