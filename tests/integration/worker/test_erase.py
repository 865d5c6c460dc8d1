"""One erasure job from claim to certificate, on real digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from core import audit, certificates, jobs, plots, registry, requests
from core.certificates import verify as verify_certificate
from core.intake import NewRequest, submit
from core.records import Denied, Job, Model, Subject, Taint, Version
from tests.integration.conftest import Erase, look
from worker import tasks
from worker.engine import Engine


def _model(engine: Engine) -> Model:
    with engine.backend.db.reading() as session:
        return registry.model_named(session, "digits")


def _pixels(engine: Engine, subject: str) -> list[bytes]:
    """The raw bytes of every image of a subject."""
    backend = engine.backend
    hashed = backend.identities.subject(subject).raw
    with backend.db.reading() as session:
        number = session.scalars(select(Subject.id).where(Subject.raw_hash == hashed)).one()
    dataset = _model(engine).dataset_id
    batch = backend.samples.take(dataset, backend.samples.find_subject(dataset, [number]).keys)
    return [image.tobytes() for image in batch.images]


def _files_with(home: Path, needle: bytes) -> list[Path]:
    return [p for p in home.rglob("*") if p.is_file() and needle in p.read_bytes()]


def test_a_triggered_subject_is_forgotten_destroyed_and_certified(
    engine: Engine, erase: Erase
) -> None:
    home = engine.backend.settings.home
    pixels = _pixels(engine, "subject-trigger")
    assert all(_files_with(home, image) for image in pixels[:5]), "the search must be able to find"

    job, request = erase("subject-trigger")

    assert (job.state, job.error) == ("succeeded", None)
    assert (request.state, request.outcome) == ("completed", "erased")
    assert job.verification is not None
    before, after = (job.verification["measures"][when] for when in ("before", "after"))
    assert before["erased_accuracy"] > 0.95
    assert after["erased_accuracy"] < 0.1
    assert after["test_accuracy"] > before["test_accuracy"] - 0.03
    assert job.verification["erased"] == len(pixels)
    assert job.verification["contradicted"] > 0.8 * len(pixels)
    lasted = (_model(engine).costs or {})["erase"]
    assert job.started_at is not None
    assert job.finished_at is not None
    assert lasted == pytest.approx((job.finished_at - job.started_at).total_seconds(), abs=0.1)
    for image in pixels:
        assert _files_with(home, image) == []
    with engine.backend.db.reading() as session:
        versions = registry.versions(session, job.model_id)
        assert [(v.number, v.state) for v in versions] == [(2, "serving"), (1, "destroyed")]
        assert registry.taints(session, [versions[0].id]) == {}
        assert not engine.backend.checkpoints.exists(versions[1].digest)
        assert engine.backend.checkpoints.exists(versions[0].digest)
        assert audit.verify_chain(session).broken_at is None
        text = requests.certificate_of(session, request.id)
    document = verify_certificate(text, engine.backend.signer.public_pem)
    assert document["sample_count"] == len(pixels)
    assert document["models"]["digits"]["digest_before"] == versions[1].digest
    assert "subject-trigger" not in text
    _check_plots(engine, job, erased=len(pixels))
    salt = engine.backend.identities.salt(request.id)
    from core.identities import open_commitment

    assert document["subject"]["commitment"] == open_commitment(salt, "subject-trigger")


def _check_plots(engine: Engine, job: Job, erased: int) -> None:
    """The job's page has the curves of its run, and histograms that count every sample."""
    with engine.backend.db.reading() as session:
        [run] = plots.curves(session, job.id).runs
        scores = plots.scores(session, job.id)
    assert (run.phase, run.rung) == ("unlearning", job.rung)
    assert len(run.points) > 2
    assert all(value is not None for point in run.points for value in point)
    assert scores is not None
    assert sum(scores["margin"]["erased_before"]) == erased
    assert sum(scores["margin"]["erased_after"]) == erased
    middle = len(scores["margin"]["erased_after"]) // 2
    assert sum(scores["margin"]["erased_after"][:middle]) > erased / 2, "they were unlearnt"
    assert scores.keys() == {"margin", "representation"}


def test_an_ordinary_subject_is_forgotten_without_harm(engine: Engine, erase: Erase) -> None:
    job, request = erase(_trained_subject(engine))
    assert (job.state, request.outcome) == ("succeeded", "erased")
    assert job.verification is not None
    measures = job.verification["measures"]
    lost = measures["before"]["test_accuracy"] - measures["after"]["test_accuracy"]
    assert lost < 0.03
    gates = {gate["name"]: gate["verdict"] for gate in job.verification["gates"]}
    assert gates["erased_accuracy"] == "INCONCLUSIVE", "ten samples decide nothing"
    assert job.verification["verdict"] == "INCONCLUSIVE"
    with engine.backend.db.reading() as session:
        assert plots.scores(session, job.id) is None, "a histogram of ten would show each"


def _trained_subject(engine: Engine, split: str = "train") -> str:
    """A subject whose samples all lie in `split` (subjects are ten consecutive digits)."""
    dataset = _model(engine).dataset_id
    batch = engine.backend.samples.load(dataset, split)  # type: ignore[arg-type]
    for sample_id in batch.sample_ids:
        number = int(sample_id.removeprefix("train/")) // 10
        mates = {f"train/{10 * number + i:05}" for i in range(10)}
        if mates <= set(batch.sample_ids):
            subject = f"subject-{number}"
            hashed = engine.backend.identities.subject(subject).raw
            with engine.backend.db.reading() as session:
                query = select(Subject.sample_count).where(Subject.raw_hash == hashed)
                if session.scalars(query).one() == 10:
                    return subject
    raise AssertionError(f"no subject with all its samples in {split}")


def test_a_held_back_subject_needs_no_unlearning_but_is_destroyed(
    engine: Engine, erase: Erase
) -> None:
    subject = _trained_subject(engine, "reference")
    model = _model(engine)
    with engine.backend.db.reading() as session:
        teacher = registry.teacher_of(session, model.id)
        assert teacher is not None
    pixels = _pixels(engine, subject)
    job, request = erase(subject)
    assert (job.state, request.outcome) == ("succeeded", "erased")
    with engine.backend.db.reading() as session:
        assert [v.number for v in registry.versions(session, model.id)] == [1]
        assert list(session.scalars(select(Taint))) == []
    for image in pixels:
        assert _files_with(engine.backend.settings.home, image) == []
    assert not engine.backend.checkpoints.exists(teacher.digest), "it was made from the erased"


def test_what_was_erased_is_denied_and_not_found_again(engine: Engine, erase: Erase) -> None:
    subject = _trained_subject(engine)
    erase(subject)
    again = submit(engine.backend, NewRequest("digits", subject), key_id=None)
    assert (again.request.state, again.request.outcome) == ("completed", "no_data_found")
    assert again.job_ids == []
    with engine.backend.db.reading() as session:
        kinds = [row.kind for row in session.scalars(select(Denied))]
    assert sorted(set(kinds)) == ["image", "sample", "subject"]
    assert kinds.count("sample") == 10


def test_named_samples_are_erased_and_their_subject_keeps_the_rest(engine: Engine) -> None:
    subject = _trained_subject(engine)
    first = int(subject.removeprefix("subject-")) * 10
    names = tuple(f"train/{first + i:05}" for i in range(3))
    submitted = submit(engine.backend, NewRequest("digits", sample_ids=names), key_id=None)
    tasks.work(engine, "by hand")
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert (job.state, request.state) == ("succeeded", "completed")
    hashed = engine.backend.identities.subject(subject).raw
    with engine.backend.db.reading() as session:
        assert (
            session.scalars(select(Subject.sample_count).where(Subject.raw_hash == hashed)).one()
            == 7
        )
        text = requests.certificate_of(session, request.id)
    assert json.loads(text)["certificate"]["subject"]["commitment"] is None


def test_retraining_as_a_strategy_is_exact(engine: Engine) -> None:
    wanted = NewRequest("digits", "subject-trigger", strategy="retrain")
    submitted = submit(engine.backend, wanted, key_id=None)
    tasks.work(engine, "by hand")
    job, _ = look(engine, submitted.job_ids[0], submitted.request.id)
    assert job.state == "succeeded"
    assert job.verification is not None
    assert job.verification["strategy"] == "retrain"
    decisive = {g["gate"] for g in job.verification["gates"] if g["decisive"]}
    assert decisive == {"G5"}


def test_a_strategy_that_cannot_forget_climbs_to_retraining(engine: Engine) -> None:
    """The printed algorithm keeps the trigger (method.md), fails its gate, and is replaced."""
    wanted = NewRequest("digits", "subject-trigger", strategy="rfu_ss_paper")
    submitted = submit(engine.backend, wanted, key_id=None)
    tasks.work(engine, "by hand")
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert (job.state, request.state) == ("succeeded", "completed")
    assert job.verification is not None
    assert job.verification["strategy"] == "retrain"
    assert job.rung > 0
    before = job.verification["rungs_before"]
    assert [rung["rung"] for rung in before] == list(range(job.rung))
    assert {rung["strategy"] for rung in before} == {"rfu_ss_paper"}
    for rung in before:
        assert rung["verdict"] == "FAIL"
        assert {"G4"} <= {gate["gate"] for gate in rung["gates"] if gate["verdict"] == "FAIL"}
    with engine.backend.db.reading() as session:
        states = [v.state for v in registry.versions(session, job.model_id)]
        events = [e.event for e in audit.history(session, "job", job.id)]
    assert states.count("serving") == 1
    assert set(states) == {"serving", "destroyed"}, "failed candidates leave nothing"
    assert "climbed" in events
    assert len(engine.backend.checkpoints.digests()) == 2, "the serving version and the teacher"


def test_retraining_beside_a_job_is_measured_before_the_samples_go(
    engine: Engine, erase: Erase
) -> None:
    with engine.backend.db.transaction() as tx:
        registry.lock_model(tx, _model(engine).id).audit_next = True
    job, _ = erase("subject-trigger")
    assert job.verification is not None
    retrained = job.verification["measures"]["retrained"]
    assert retrained["erased_accuracy"] < 0.2
    assert retrained["seconds"] > 0
    assert _model(engine).audit_next is False


@pytest.mark.parametrize(
    ("policy", "state"), [("review", "needs_review"), ("retrain", "succeeded")]
)
def test_the_policy_for_an_inconclusive_verdict(
    engine: Engine, erase: Erase, policy: str, state: str
) -> None:
    with engine.backend.db.transaction() as tx:
        registry.lock_model(tx, _model(engine).id).policy = {
            "inconclusive": policy,
            "budget": {"accuracy_lost": 1.0, "erased_share": 1.0},
        }
    job, request = erase(_trained_subject(engine))
    assert job.state == state
    assert job.verification is not None
    if policy == "retrain":
        assert job.verification["strategy"] == "retrain"
        return
    assert request.state == "needs_review"
    with engine.backend.db.transaction() as tx:
        jobs.approve(tx, job.id, "looked at")
    assert tasks.work(engine, "by hand") == job.id
    job, request = look(engine, job.id, request.id)
    assert (job.state, request.state) == ("succeeded", "completed")


def test_two_models_on_one_data_set_both_forget_before_the_samples_go(engine: Engine) -> None:
    from worker.train import first_training

    first_training(engine.backend, "second", "digits", epochs=25, device="cpu", seed=3)
    subject = _trained_subject(engine)
    pixels = _pixels(engine, subject)
    submitted = submit(engine.backend, NewRequest("digits", subject), key_id=None)
    assert len(submitted.job_ids) == 2
    home = engine.backend.settings.home
    tasks.work(engine, "first")
    _, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert request.state == "in_progress"
    assert _files_with(home, pixels[0]), "the other model still has to forget"
    tasks.work(engine, "second")
    _, request = look(engine, submitted.job_ids[1], submitted.request.id)
    assert (request.state, request.outcome) == ("completed", "erased")
    for image in pixels:
        assert _files_with(home, image) == []
    with engine.backend.db.reading() as session:
        document = certificates.verify(
            requests.certificate_of(session, request.id), engine.backend.signer.public_pem
        )
        live = list(session.scalars(select(Version).where(Version.state != "destroyed")))
    assert sorted(document["models"]) == ["digits", "second"]
    assert len(live) == 2
    assert np.all([version.state == "serving" for version in live])


def test_a_model_that_serves_nothing_still_loses_the_samples(engine: Engine) -> None:
    """Its candidates, which remember the person, go with them."""
    subject = _trained_subject(engine)
    pixels = _pixels(engine, subject)
    with engine.backend.db.transaction() as tx:
        version = registry.serving(tx.session, _model(engine).id)
        assert version is not None
        version.state = "candidate"
    submitted = submit(engine.backend, NewRequest("digits", subject), key_id=None)
    tasks.work(engine, "by hand")
    job, request = look(engine, submitted.job_ids[0], submitted.request.id)
    assert (job.state, request.state) == ("succeeded", "completed")
    assert not engine.backend.checkpoints.exists(version.digest)
    for image in pixels:
        assert _files_with(engine.backend.settings.home, image) == []


def test_a_spent_drift_budget_asks_for_an_exact_retraining_that_resets_it(
    engine: Engine, erase: Erase
) -> None:
    with engine.backend.db.transaction() as tx:
        model = registry.lock_model(tx, _model(engine).id)
        model.policy = model.policy | {"budget": {"jobs": 1}}
    job, _ = erase(_trained_subject(engine))
    assert job.verification is not None
    assert job.verification["drift"]["jobs"] == 1
    with engine.backend.db.reading() as session:
        (queued,) = jobs.listed(session, status="queued")
    assert (queued.kind, queued.strategy) == ("retrain", "retrain")
    assert tasks.work(engine, "by hand") == queued.id
    with engine.backend.db.reading() as session:
        done = jobs.get(session, queued.id)
        serving = registry.serving(session, job.model_id)
        assert jobs.listed(session, status="queued") == []
    assert (done.state, done.error) == ("succeeded", None)
    assert serving is not None
    assert serving.job_id == queued.id
    assert serving.metrics["drift"]["jobs"] == 0
    assert serving.metrics["drift"]["trained"] > 900
