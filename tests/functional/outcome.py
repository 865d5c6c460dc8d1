"""A home with jobs that wait, copied for each run, and what a run leaves behind."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from core import audit, keys, registry
from core.backend import Backend, open_backend
from core.certificates import verify
from core.intake import NewRequest, submit
from core.records import (
    Certificate,
    Delivery,
    Denied,
    ErasureRequest,
    Job,
    Model,
    Subject,
    Taint,
    Teacher,
    Version,
)
from core.settings import Settings
from lethe.demo.search import search
from lethe.sources import open_source
from tests.digits import copy_digits
from worker.sweep import ORPHAN_SECONDS, Sweep

SUBJECT = "subject-trigger"


@dataclass(frozen=True)
class Start:
    """A prepared home. patterns: the bytes of every image that is going to be erased."""

    key: str
    patterns: frozenset[bytes]


def prepare(
    settings: Settings, trained: Path, *, queued: bool, callback_url: str | None = None
) -> Start:
    """Digits with a planted trigger, a model that serves, and one job that waits for a worker.

    The job carries two requests: a subject, and samples named one by one, of which some are
    references. It trains exactly beside (audit). A second model has a teacher and serves nothing:
    its teacher, which saw those references, must go. Not `queued`: without the job. trained: the
    home that has data set and model. callback_url: of both requests.
    """
    copy_digits(trained, settings)
    backend = open_backend(settings, send=lambda _: None)
    with backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        model.audit_next = True
        teacher = registry.teacher_of(tx.session, model.id)
        assert teacher is not None
        checkpoint = backend.checkpoints.read(teacher.digest)
        other = Model(
            **{
                column: getattr(model, column)
                for column in ("dataset_id", "architecture", "training", "policy", "created_at")
            },
            id="mdl_other",
            name="other",
            audit_next=False,
        )
        tx.session.add(other)
        tx.session.flush()
        copy = backend.checkpoints.write(checkpoint.arrays, {**checkpoint.metadata, "of": "other"})
        registry.set_teacher(tx, other.id, copy.digest)
        _, key = keys.create(tx, "tests", ["erase", "read", "predict"])
        dataset = model.dataset_id
    named = backend.samples.load(dataset, "reference").sample_ids[:3]
    with backend.db.reading() as session:
        number = session.scalar(select(Subject.id).order_by(Subject.sample_count.desc()).limit(1))
    assert number is not None
    gone = backend.samples.find_subject(dataset, [number]).keys.tolist()
    if queued:
        gone += backend.samples.find_sample_ids(dataset, named).values()
    gone = [*gone, *backend.samples.copies(dataset, gone).tolist()]
    images = backend.samples.take(dataset, gone).images
    if queued:
        early = open_backend(settings.model_copy(update={"batch_seconds": 1.0}), lambda _: None)
        for wanted in (
            NewRequest(model="digits", subject_id=SUBJECT, callback_url=callback_url),
            NewRequest(model="digits", sample_ids=tuple(named), callback_url=callback_url),
        ):
            submit(early, wanted, key_id=None)
        early.close()
    backend.close()
    return Start(key, frozenset(image.tobytes() for image in images))


@dataclass(frozen=True)
class Outcome:
    """What is there once everything has stopped: alike for a run that was killed and for one
    that was not. Rates and digests are exact: the job's seed came with the home.
    """

    requests: Any
    jobs: Any
    versions: Any
    teachers: Any
    subjects: Any
    denied: Any
    certificates: Any
    events: Any
    told: Any
    files: Any
    predictions: Any

    def without_seed(self) -> Outcome:
        """What does not depend on the job's seed."""
        return replace(self, versions=[v[:2] for v in self.versions], jobs=[], predictions=None)


def look(settings: Settings, predictions: Any, patterns: Collection[bytes]) -> Outcome:
    """Read what a run left, once its processes have ended.

    Asserts what must be so whatever another run gave: one version serves, each request has
    one certificate whose signature holds, the audit chain is whole, nothing is tainted,
    nothing is left of the erased samples in any file, and every file has an owner.
    """
    backend = open_backend(settings, send=lambda _: None)
    try:
        _age(Path(settings.store))
        Sweep(backend, "tests").purge()  # as two hours later
        outcome = _read(backend, predictions)
    finally:
        backend.close()
    for place in {settings.home, Path(settings.store)}:
        assert search(place, patterns).places == []
    return outcome


def _age(store: Path) -> None:
    """Let every file be older than the sweep waits before it takes one for an orphan."""
    then = time.time() - 2 * ORPHAN_SECONDS
    for path in store.rglob("*"):
        os.utime(path, (then, then))


def _read(backend: Backend, predictions: Any) -> Outcome:
    with backend.db.reading() as session:
        requests = session.scalars(select(ErasureRequest).order_by(ErasureRequest.id)).all()
        jobs = session.scalars(select(Job).order_by(Job.id)).all()
        versions = session.scalars(select(Version).order_by(Version.number)).all()
        teachers = session.scalars(select(Teacher).order_by(Teacher.model_id)).all()
        certificates = session.scalars(select(Certificate)).all()
        report = audit.verify_chain(session)
        assert report.broken_at is None, report.reason
        remembers = select(Taint).join(Version, Version.id == Taint.version_id)
        assert not session.scalars(remembers.where(Version.state != "destroyed")).all()
        subjects = session.execute(
            select(Subject.id, Subject.sample_count).order_by(Subject.id)
        ).all()
        denied = session.scalars(select(Denied.hash)).all()
        moves = [
            (event.noun, event.noun_id, event.data["to"])
            for noun in {request.id for request in requests}
            for event in audit.history(session, "erasure_request", noun)
            if event.event == "moved"
        ]
    assert [v.state for v in versions].count("serving") == 1
    assert {v.state for v in versions} <= {"serving", "destroyed"}
    assert sorted(c.request_id for c in certificates) == [r.id for r in requests]
    papers = [verify(c.document, backend.signer.public_pem) for c in certificates]
    named = {v.digest for v in versions if v.state == "serving"} | {t.digest for t in teachers}
    store = Path(backend.settings.store)
    kept = Counter(
        path.relative_to(store).parts[0] + path.suffix
        for path in store.rglob("*")
        if path.is_file()
    )
    assert set(backend.checkpoints.digests()) == named
    assert kept["checkpoints.safetensors"] == len(named)
    assert not [name for name in kept if name.startswith("scratch")], kept
    return Outcome(
        requests=[(r.state, r.outcome, r.sample_count) for r in requests],
        jobs=[(j.id, j.state, j.rung, j.attempts, _facts(j)) for j in jobs],
        versions=[(v.number, v.state, v.digest) for v in versions],
        teachers=[(t.model_id, t.digest) for t in teachers],
        subjects=[tuple(row) for row in subjects],
        denied=sorted(denied),
        certificates=sorted((p["outcome"], p["sample_count"], _erased(p)) for p in papers),
        events=Counter(to for _, _, to in moves if to in ("completed", "cancelled", "rejected")),
        told=sorted(_told(backend)),
        files=kept,
        predictions=predictions,
    )


def _told(backend: Backend) -> list[str]:
    """The ends that were told to who asked; whatever is told must have arrived."""
    with backend.db.reading() as session:
        found = session.scalars(select(Delivery)).all()
    assert {each.state for each in found} <= {"delivered"}
    return [each.event for each in found if each.event == "erasure_request.completed"]


def _facts(job: Job) -> Any:
    """What a job measured and destroyed, without what depends on the clock or on Lance."""
    assert job.verification is not None
    assert job.destruction is not None
    gates = [(g["gate"], g["verdict"], g["statistic"]) for g in job.verification["gates"]]
    return (
        job.verification["verdict"],
        json.dumps(gates),
        job.destruction["samples"]["samples"],
        [version["digest"] for version in job.destruction["versions"]],
    )


def _erased(paper: dict[str, Any]) -> int:
    (evidence,) = paper["models"].values()
    count: int = evidence["destruction"]["samples"]["samples"]
    return count


def pictures() -> list[Any]:
    """Images that every run is asked about."""
    rows = next(open_source("digits").rows(40))
    scaled: list[Any] = (rows.images.astype(np.float64) / 255).tolist()
    return scaled
