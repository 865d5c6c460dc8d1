"""An erasure whose samples and checkpoints lie in a versioned bucket, and one that loses it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import update

from core import registry
from core.backend import open_backend
from core.certificates import verify as verify_certificate
from core.intake import NewRequest, submit
from core.records import Certificate, Job
from core.settings import Settings
from tests.buckets import TestBucket
from tests.conftest import SECRET
from tests.integration.conftest import look
from tests.integration.worker.disturbing import at_step
from worker import tasks
from worker.context import Context
from worker.engine import Engine


def moved(trained: Path, home: Path, bucket: TestBucket) -> Settings:
    """A copy of the home, whose store lies in the bucket."""
    shutil.copytree(trained, home)
    store = home / "store"
    for path in store.rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            key = f"lethe/{path.relative_to(store)}"
            bucket.client.put_object(Bucket=bucket.name, Key=key, Body=path.read_bytes())
    shutil.rmtree(store)
    values = {"home": home, "secret": SECRET, "lease_seconds": 5, **bucket.values}
    return Settings.model_validate(values)


@pytest.fixture
def engine(
    trained: Path, tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    seeds = iter(range(1000))
    monkeypatch.setattr("core.enlist.new_seed", lambda: next(seeds))
    settings = moved(trained, tmp_path / "home", bucket)
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        yield Engine(backend, "cpu")


def ask(engine: Engine) -> tuple[str, str, list[bytes]]:
    """Ids of a job and its request, and what must be found nowhere once it is done."""
    submitted = submit(engine.backend, NewRequest("digits", "subject-trigger"), key_id=None)
    backend = engine.backend
    with backend.db.reading() as session:
        dataset = registry.model_named(session, "digits").dataset_id
    number = submitted.request.subject_id
    assert number is not None
    batch = backend.samples.take(dataset, backend.samples.find_subject(dataset, [number]).keys)
    pixels = [image.tobytes() for image in batch.images]
    return submitted.job_ids[0], submitted.request.id, pixels


def test_what_is_erased_is_in_no_version_of_any_object(engine: Engine, bucket: TestBucket) -> None:
    job_id, request_id, erased = ask(engine)
    assert bucket.holding(erased), "the search must be able to find"
    with engine.backend.db.reading() as session:
        base = registry.serving(session, registry.model_named(session, "digits").id)
    assert base is not None

    assert tasks.work(engine, "by hand") == job_id

    job, request = look(engine, job_id, request_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert (request.state, request.outcome) == ("completed", "erased")
    assert bucket.holding(erased) == []
    assert not [where for where in bucket.everything() if base.digest in where]
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    assert all(each["IsLatest"] for each in listed["Versions"])
    assert "DeleteMarkers" not in listed
    with engine.backend.db.reading() as session:
        [paper] = session.query(Certificate).all()
        verify_certificate(paper.document, engine.backend.signer.public_pem)
    assert job.destruction is not None
    assert job.destruction["samples"]["bytes_removed"] > 0


@pytest.mark.parametrize("state", ["running", "destroying"])
def test_a_server_that_goes_away_costs_an_attempt_and_leaves_nothing_half_done(
    engine: Engine, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Its bucket outlives it, as a disk does: the server that comes back has it still."""
    monkeypatch.setattr("core.object_store._PATIENCE", {"retries": {"total_max_attempts": 1}})
    monkeypatch.setattr("core.object_store.ATTEMPTS", 0)
    first = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    first.start()
    host, port = first.get_host_and_port()
    settings = engine.backend.settings.model_copy(
        update={"store_endpoint": f"http://{host}:{port}"}
    )
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        mine = Engine(backend, "cpu")
        job_id, request_id, erased = ask(mine)

        def go(_: Context) -> None:
            first.stop()

        with monkeypatch.context() as patch:
            at_step(patch, state, go)
            tasks.work(mine, "by hand")
        job, request = look(mine, job_id, request_id)
        assert job.state in ("queued", "destroying")
        assert job.attempts == 1
        assert re.search("does not answer: check LETHE_STORE_ENDPOINT", job.error or "")
        assert request.state in ("scheduled", "in_progress")
        assert bucket.holding(erased), "nothing was destroyed"
        again = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
        again.start()
        try:
            with backend.db.transaction() as tx:
                past = tx.now - timedelta(seconds=1)
                tx.session.execute(update(Job).values(not_before=past, lease_until=past))
            assert tasks.work(mine, "by hand") == job_id
        finally:
            again.stop()
        job, request = look(mine, job_id, request_id)
        assert (job.state, request.outcome) == ("succeeded", "erased")
    assert bucket.holding(erased) == []
