"""Canaries from import to certificate, and copies that nobody named, on real digits."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from core import canaries, certificates, migrate, registry, requests
from core.backend import Backend, open_backend
from core.canaries import Plan, subject_of
from core.importing import Importer
from core.incoming import Chunk
from core.intake import NewRequest, submit
from core.records import AuditEvent, CanaryGroup, Certificate, ErasureRequest, Job, Subject
from core.samples import SPLIT_CODE, Found
from core.settings import Settings
from lethe.sources import Subjected, open_source
from service.pages.certificate import render
from tests.conftest import SECRET
from tests.integration.capturing import captured
from tests.integration.checking import check, same
from tests.integration.conftest import Erase, look
from tests.integration.worker.disturbing import killed_at
from tests.unit.service.reading import Page
from worker import tasks
from worker.engine import Engine
from worker.train import first_training

ORIGINAL, COPY = "subject-3", "subject-9"


class WithCopies(Subjected):
    """The digits, but the first three samples of one subject look like another's."""

    def chunks(self) -> Iterator[Chunk]:
        for chunk in super().chunks():
            if COPY in chunk.subjects:
                copies, originals = (chunk.subjects.index(s) for s in (COPY, ORIGINAL))
                chunk.images[copies : copies + 3] = chunk.images[originals : originals + 3]
            yield chunk


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose model has learnt two groups of canaries, the same ones in every run."""
    seeds = (f"{number:032x}" for number in itertools.count(1))
    home = tmp_path_factory.mktemp("planted") / "home"
    home.mkdir()
    backend = open_backend(Settings(home=home, secret=SECRET), send=lambda _: None)
    migrate.upgrade(backend.db)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.canaries.secrets.token_hex", lambda _: next(seeds))
        Importer(backend.db, backend.samples, backend.identities).run(
            "digits", WithCopies(open_source("digits")), canary_plan=Plan(2, 32)
        )
    first_training(backend, "digits", "digits", epochs=40, device="cpu")
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.policy = model.policy | {"budget": {"accuracy_lost": 1.0, "erased_share": 1.0}}
    backend.close()
    return home


@pytest.fixture
def engine(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    seeds = iter(range(1000))
    monkeypatch.setattr("core.enlist.new_seed", lambda: next(seeds))
    home = tmp_path / "home"
    shutil.copytree(planted, home)
    backend = open_backend(Settings(home=home, secret=SECRET), send=lambda _: None)
    yield Engine(backend, "cpu")
    backend.close()


def gate(job: Job, name: str) -> dict[str, Any] | None:
    assert job.verification is not None
    return next((g for g in job.verification["gates"] if g["name"] == name), None)


def dataset_of(backend: Backend) -> str:
    with backend.db.reading() as session:
        return registry.model_named(session, "digits").dataset_id


def canaries_left(backend: Backend, number: int) -> int:
    return len(backend.samples.find_subject(dataset_of(backend), [subject_of(number)]))


def certified(backend: Backend, request: ErasureRequest) -> dict[str, Any]:
    with backend.db.reading() as session:
        text = session.get_one(Certificate, request.id).document
    document = certificates.verify(text, backend.signer.public_pem)
    return dict(document["models"]["digits"])


def test_each_job_erases_a_group_and_shows_that_its_coins_cannot_be_guessed(
    engine: Engine, erase: Erase
) -> None:
    backend = engine.backend
    first, second, third = trained_on(engine, 3)
    there = canaries_left(backend, 0)
    assert there > 8

    job, request = erase(first)
    guessed = gate(job, "canaries")
    assert guessed is not None
    assert guessed["detail"]["guessed_before"] > 0.75, "the model had learnt them"
    assert (guessed["verdict"], guessed["samples"]) == ("PASS", 32)
    assert gate(job, "reversal") is None
    assert canaries_left(backend, 0) == 0
    assert canaries_left(backend, 1) > 8
    assert job.verification is not None
    assert job.verification["erased"] == 10, "canaries are nobody's samples"

    shown = certified(backend, request)["canaries"]
    assert shown["commitment"] == canaries.commitment(0, shown["seed"], shown["size"])
    with backend.db.reading() as session:
        committed = select(AuditEvent).where(AuditEvent.event == canaries.COMMITTED)
        assert shown["commitment"] in session.scalars(committed).one().data["commitments"]

    job, _ = erase(second)  # the second group; the first must not come back
    reversal = gate(job, "reversal")
    assert reversal is not None
    assert (reversal["verdict"], reversal["detail"]["groups"]) == ("PASS", 1)

    job, request = erase(third)
    spent = gate(job, "canaries")
    assert spent is not None
    assert (spent["verdict"], spent["samples"]) == ("INCONCLUSIVE", 0)
    assert certified(backend, request)["canaries"] is None


def test_every_figure_about_canaries_is_recomputed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group of the job, and those of jobs before; then there is none left."""
    first, second, third = trained_on(engine, 3)
    captured(engine, monkeypatch, subject_id=first)
    found = captured(engine, monkeypatch, subject_id=second)
    check(found)
    assert {"canaries", "reversal"} <= found.gates.keys()
    assert found.gates["canaries"]["samples"] == 32
    with engine.backend.db.reading() as session:
        text = requests.certificate_of(session, found.request.id)
    page = Page(render(text, engine.backend.signer.public_pem))
    before = found.gates["canaries"]["detail"]["guessed_before"]
    assert f"{before:.0%} from the model before" in page.words
    spent = captured(engine, monkeypatch, subject_id=third).gates["canaries"]
    nothing = {"statistic": 0, "low": 0, "high": 1, "least": 0, "most": 0.5, "samples": 0}
    same(spent, nothing)


def test_a_retraining_does_not_see_the_group_of_its_own_job(engine: Engine) -> None:
    backend = engine.backend
    wanted = NewRequest(model="digits", subject_id=trained_on(engine, 1)[0], strategy="retrain")
    submitted = submit(backend, wanted, key_id=None)
    assert tasks.work(engine, "by hand") == submitted.job_ids[0]
    job, _ = look(engine, submitted.job_ids[0], submitted.request.id)
    assert job.state == "succeeded"
    guessed = gate(job, "canaries")
    assert guessed is not None
    assert guessed["statistic"] < 0.75
    assert not guessed["decisive"]


def test_canaries_of_a_request_that_waits_for_another_model_are_gone_at_once(
    engine: Engine, erase: Erase
) -> None:
    backend = engine.backend
    first_training(backend, "second", "digits", epochs=25, device="cpu", seed=1)
    job, request = erase(*trained_on(engine, 1))
    assert (job.state, request.state) == ("succeeded", "in_progress")
    assert canaries_left(backend, 0) == 0
    with backend.db.reading() as session:
        second = session.scalars(select(Job).where(Job.id != job.id)).one()
    assert tasks.work(engine, "by hand") == second.id
    second, request = look(engine, second.id, request.id)
    assert (second.state, request.state) == ("succeeded", "completed")
    with backend.db.reading() as session:
        taken = {g.number: g.job_id for g in canaries.groups_of(session, dataset_of(backend))}
    assert taken == {0: job.id, 1: second.id}


def test_canaries_that_one_who_died_had_deleted_are_destroyed_by_who_takes_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second model must forget as well, so that the job deletes no sample but the canaries."""
    backend = engine.backend
    first_training(backend, "second", "digits", epochs=5, device="cpu", seed=1)
    wanted = NewRequest(model="digits", subject_id=trained_on(engine, 1)[0])
    submitted = submit(backend, wanted, key_id=None)
    with backend.db.transaction() as tx:  # the other model's job stays in the queue
        later = tx.now + timedelta(days=1)
        others = update(Job).where(Job.id.not_in(mine(backend, submitted.job_ids)))
        tx.session.execute(others.values(not_before=later))
    picture = backend.samples.take(dataset_of(backend), first_canary(backend)).images[0].tobytes()
    assert holding(engine, picture)
    killed_at(engine, monkeypatch, "purge:after-compaction", 1)
    assert canaries_left(backend, 0) == 0
    assert holding(engine, picture), "the old files lie there still"
    (job_id,) = mine(backend, submitted.job_ids)
    assert tasks.work(engine, "second") == job_id
    with backend.db.reading() as session:
        assert session.get_one(Job, job_id).state == "succeeded"
    assert not holding(engine, picture)


def test_a_changed_coin_is_named_before_anyone_relies_on_it(engine: Engine) -> None:
    with engine.backend.db.transaction() as tx:
        group = canaries.groups_of(tx.session, dataset_of(engine.backend))[0]
        flipped = f"{int(group.seed, 16) ^ 1:032x}"
        tx.session.execute(update(CanaryGroup).where(CanaryGroup.number == 0).values(seed=flipped))
    with engine.backend.db.reading() as session:
        (wrong,) = canaries.broken_commitments(session)
    assert wrong.startswith("canary group 0 of data set 'digits'")


def test_exact_copies_go_with_what_was_named(engine: Engine, erase: Erase) -> None:
    backend, dataset = engine.backend, dataset_of(engine.backend)
    copies = backend.samples.copies(dataset, found(engine, ORIGINAL).keys)
    assert len(copies) == 3

    job, request = erase(ORIGINAL)

    assert request.state == "completed"
    assert job.verification is not None
    assert (job.verification["erased"], job.verification["copies"]) == (13, 3)
    assert not np.isin(copies, backend.samples.keys(dataset)).any()
    assert certified(backend, request)["verification"]["copies"] == 3


def mine(backend: Backend, job_ids: Sequence[str]) -> list[str]:
    """Those of these jobs that are of the first model."""
    with backend.db.reading() as session:
        model = registry.model_named(session, "digits")
        query = select(Job.id).where(Job.id.in_(job_ids), Job.model_id == model.id)
        return list(session.scalars(query))


def first_canary(backend: Backend) -> list[int]:
    return backend.samples.keys_of_subjects(dataset_of(backend), [subject_of(0)]).tolist()[:1]


def holding(engine: Engine, picture: bytes) -> list[Path]:
    """The files of the sample store in which this picture is."""
    home = engine.backend.settings.home
    files = [path for path in (home / "store" / "samples").rglob("*") if path.is_file()]
    assert files
    return [path for path in files if picture in path.read_bytes()]


def found(engine: Engine, subject: str) -> Found:
    """The samples of a subject."""
    hashed = engine.backend.identities.subject(subject).raw
    with engine.backend.db.reading() as session:
        number = session.scalars(select(Subject.id).where(Subject.raw_hash == hashed)).one()
    return engine.backend.samples.find_subject(dataset_of(engine.backend), [number])


def trained_on(engine: Engine, count: int) -> list[str]:
    """Subjects whose samples are all in the training split, and none of them a copy."""
    train = SPLIT_CODE["train"]
    names = (f"subject-{i}" for i in range(20, 80))
    return [name for name in names if (found(engine, name).splits == train).all()][:count]
