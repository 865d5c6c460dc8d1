"""Appended samples: no version has seen them before it is retrained, and jobs know it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from core import audit, datasets, registry
from core.appending import Appended, Appender
from core.incoming import Chunk
from core.intake import NewRequest, submit
from core.records import Job, Subject, Version
from core.samples import SPLIT_CODE
from lethe.sources import Subjected, open_source
from tests.integration.conftest import Erase, look
from worker import context, tasks
from worker.context import Context
from worker.engine import Engine
from worker.sweep import Sweep
from worker.train import first_training


class Shifted(Subjected):
    """300 of the digits, one pixel to the right: new pictures, of people may/subject-N."""

    def __init__(self) -> None:
        super().__init__(open_source("digits"), prefix="may/", numbered=True)

    def chunks(self) -> Iterator[Chunk]:
        chunk = next(super().chunks())
        yield Chunk(
            sample_ids=chunk.sample_ids[:300],
            subjects=chunk.subjects[:300],
            labels=chunk.labels[:300],
            images=np.roll(chunk.images[:300], 1, axis=3),
            test=chunk.test[:300],
            train_only=chunk.train_only[:300],
        )


@pytest.fixture
def appended(engine: Engine) -> Appended:
    backend = engine.backend
    return Appender(backend.db, backend.samples, backend.identities).run("digits", Shifted())


def serving(engine: Engine) -> Version:
    with engine.backend.db.reading() as session:
        version = registry.serving(session, registry.model_named(session, "digits").id)
    assert version is not None
    return version


def states(engine: Engine) -> list[tuple[int, str]]:
    with engine.backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        return [(v.number, v.state) for v in registry.versions(session, model.id)]


def someone(engine: Engine, done: Appended, split: str = "train") -> tuple[str, np.ndarray]:
    """A subject of the appended samples in this split, and one of their pictures."""
    backend = engine.backend
    for i in range(30):
        raw = backend.identities.subject(f"may/subject-{i}").raw
        with backend.db.reading() as session:
            number = session.scalars(select(Subject.id).where(Subject.raw_hash == raw)).one()
        found = backend.samples.find_subject(done.dataset.id, [number])
        if (found.splits == SPLIT_CODE[split]).all():  # type: ignore[index]
            return f"may/subject-{i}", backend.samples.take(done.dataset.id, found.keys).images[0]
    raise AssertionError(f"nobody in {split}")


def retrain(engine: Engine, subject: str = "subject-7") -> Job:
    wanted = NewRequest("digits", subject, strategy="retrain")
    submitted = submit(engine.backend, wanted, key_id=None)
    tasks.work(engine, "by hand")
    job, _ = look(engine, submitted.job_ids[0], submitted.request.id)
    assert job.state == "succeeded", job.error
    return job


def holds(engine: Engine, image: np.ndarray) -> bool:
    needle = image.tobytes()
    files = (p for p in engine.backend.settings.home.rglob("*") if p.is_file())
    return any(needle in p.read_bytes() for p in files)


def test_who_was_only_appended_is_erased_without_unlearning(
    engine: Engine, appended: Appended, erase: Erase
) -> None:
    subject, image = someone(engine, appended)
    assert holds(engine, image)
    job, request = erase(subject)
    assert (job.state, request.outcome) == ("succeeded", "erased")
    assert job.verification is not None
    assert job.verification["note"] == "none of the samples was trained on"
    assert states(engine) == [(1, "serving")]
    assert not holds(engine, image)
    with engine.backend.db.reading() as session:
        assert registry.taints(session, [serving(engine).id]) == {}


def test_a_job_counts_only_what_its_version_has_seen(
    engine: Engine, appended: Appended, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    monkeypatch.setattr(context, "MOST_REMAINING", 500)
    submit(engine.backend, NewRequest("digits", "subject-trigger"), key_id=None)
    real = Context.remaining.func  # type: ignore[attr-defined]

    def noted(self: Context) -> object:
        found = real(self)
        below = self.trained_below
        keys = self.engine.backend.samples.keys(self.dataset.id, "train")
        seen.update(below=below, remaining=len(found), there=int((keys < below).sum()))
        self.__dict__["remaining"] = found
        return found

    monkeypatch.setattr(Context, "remaining", property(noted))
    tasks.work(engine, "by hand")
    assert seen["below"] == 1797
    assert seen["remaining"] == 500
    account = serving(engine).metrics["drift"]
    assert (account["below"], account["jobs"]) == (1797, 1)


def test_a_retraining_sees_them_and_they_are_unlearnt_then(
    engine: Engine, appended: Appended, erase: Erase
) -> None:
    before = serving(engine).metrics["drift"]
    retrain(engine)
    account = serving(engine).metrics["drift"]
    assert account["below"] == before["below"] + 300
    assert account["trained"] > before["trained"] + 100
    subject, image = someone(engine, appended)
    job, request = erase(subject)
    assert (job.state, request.outcome) == ("succeeded", "erased")
    assert job.verification is not None
    assert job.verification["erased_train"] == 10
    assert states(engine)[0][1] == "serving"
    assert serving(engine).number > 2
    assert not holds(engine, image)


def test_a_later_version_that_saw_them_goes_with_them(
    engine: Engine, appended: Appended, erase: Erase
) -> None:
    """Served again is one that never saw them, so that nothing is to be unlearnt."""
    first_training(engine.backend, "digits", "digits", seed=1, epochs=5, device="cpu")
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        [later] = [v for v in registry.versions(tx.session, model.id) if v.number == 2]
        registry.publish(tx, later)
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, model.id)
        exists = engine.backend.checkpoints.exists
        registry.rollback(tx, model, 1, "as it was", file_exists=exists)
    subject, _ = someone(engine, appended)
    job, request = erase(subject)
    assert (job.state, request.outcome) == ("succeeded", "erased")
    assert states(engine) == [(2, "destroyed"), (1, "serving")]
    assert not engine.backend.checkpoints.exists(later.digest)
    with engine.backend.db.reading() as session:
        assert registry.taints(session, [serving(engine).id]) == {}


def test_the_teacher_is_made_again_when_r_has_grown(
    engine: Engine, appended: Appended, erase: Erase
) -> None:
    assert appended.counts["reference"] > 0
    model_id = serving(engine).model_id
    with engine.backend.db.reading() as session:
        old = registry.teacher_of(session, model_id)
    erase("subject-trigger")
    with engine.backend.db.reading() as session:
        new = registry.teacher_of(session, model_id)
        made = [e.event for e in audit.history(session, "model", model_id)]
    assert old is not None
    assert new is not None
    assert new.digest != old.digest
    assert made.count("teacher made") == 2
    assert not engine.backend.checkpoints.exists(old.digest)


def test_an_append_that_ends_while_a_job_runs_changes_nothing_in_it(engine: Engine) -> None:
    backend = engine.backend
    submit(backend, NewRequest("digits", "subject-trigger"), key_id=None)
    with backend.db.reading() as session:
        dataset = datasets.dataset_named(session, "digits")
    before = context.before(backend.samples.load(dataset.id, "train"), dataset.next_key)
    Appender(backend.db, backend.samples, backend.identities).run("digits", Shifted())
    after = context.before(backend.samples.load(dataset.id, "train"), dataset.next_key)
    assert len(backend.samples.load(dataset.id, "train")) > len(after)
    assert after.sample_ids == before.sample_ids


def test_the_sweep_destroys_what_a_killed_append_left(engine: Engine) -> None:
    backend = engine.backend
    with backend.db.reading() as session:
        dataset = datasets.dataset_named(session, "digits")
    one = backend.samples.take(dataset.id, [0])
    orphan = replace(one, keys=np.array([dataset.next_key]), sample_ids=["orphan"])
    backend.samples.append(dataset.id, [orphan])
    Sweep(backend, "me").purge()
    assert backend.samples.count(dataset.id) == dataset.next_key
