"""Production on an S3 server: PostgreSQL, Redis, a versioned bucket, real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from core.backend import open_backend
from core.records import Subject
from core.settings import Settings
from tests.buckets import TestBucket
from tests.functional.conftest import SECRET, prepare
from tests.functional.deployment import Deployment
from tests.functional.launching import Launch
from tests.functional.test_docs import ROOT, run


@pytest.fixture
def deployment(
    tmp_path: Path, postgres_db: str, redis_url: str, bucket: TestBucket, launch: Launch
) -> Iterator[Deployment]:
    variables = {
        "LETHE_HOME": str(tmp_path / "home"),
        "LETHE_DATABASE_URL": postgres_db,
        "LETHE_BROKER_URL": redis_url,
        "LETHE_SECRET": SECRET,
        **bucket.variables,
    }
    deployment = Deployment(tmp_path, variables, launch)
    yield deployment
    deployment.close()


def erased_of(deployment: Deployment, subject: str) -> tuple[list[bytes], list[bytes]]:
    """Pixels and names of a person's samples."""
    values = {k.removeprefix("LETHE_").lower(): v for k, v in deployment.variables.items()}
    values.pop("api_key")
    settings = Settings.model_validate(values)
    with closing(open_backend(settings, send=lambda _: None)) as backend:
        hashed = backend.identities.subject(subject).raw
        with backend.db.reading() as session:
            person = session.scalars(select(Subject).where(Subject.raw_hash == hashed)).one()
        keys = backend.samples.find_subject(person.dataset_id, [person.id]).keys
        keys = [*keys, *backend.samples.copies(person.dataset_id, keys)]
        batch = backend.samples.take(person.dataset_id, keys)
    return [each.tobytes() for each in batch.images], [each.encode() for each in batch.sample_ids]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_person_is_forgotten_and_in_no_version_of_any_object(
    deployment: Deployment, bucket: TestBucket
) -> None:
    prepare(deployment)
    scopes = [part for scope in ("erase", "read", "predict") for part in ("--scope", scope)]
    key = deployment.ok("keys", "create", "tests", *scopes).strip()
    deployment.variables["LETHE_API_KEY"] = key
    pixels, names = erased_of(deployment, "subject-trigger")
    assert bucket.holding(pixels), "the search must be able to find"
    assert bucket.holding(names)
    before = set(bucket.everything())
    deployment.serve()
    for _ in range(2):
        deployment.start("worker")
    with deployment.client() as client:
        asked = client.erase("digits", subject_id="subject-trigger")
        done = client.wait(asked, timeout=300)
    assert (done.status, done.outcome) == ("completed", "erased")
    for process in deployment.processes:
        process.end()
    assert bucket.holding([*pixels, *names]) == []
    gone = [where for where in before if where.endswith(".safetensors")]
    assert not before & set(bucket.everything()) & set(gone), "every old checkpoint is gone"
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    assert all(each["IsLatest"] for each in listed["Versions"])
    assert "DeleteMarkers" not in listed
    said = "".join(process.text for process in deployment.processes)
    assert bucket.variables["LETHE_STORE_SECRET_KEY"] not in said


def test_a_store_that_cannot_be_used_is_one_line(
    tmp_path: Path, bucket: TestBucket, launch: Launch
) -> None:
    variables = {"LETHE_HOME": str(tmp_path / "home"), **bucket.variables}
    variables["LETHE_STORE_URL"] = "s3://no-such-bucket/lethe"
    with closing(Deployment(tmp_path, variables, launch)) as deployment:
        done = deployment.lethe("dataset", "list")
    assert done.returncode == 1
    assert "there is no such bucket" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_guide(tmp_path: Path, bucket: TestBucket) -> None:
    variables = bucket.variables
    run(
        ROOT / "docs/guides/object-storage.md",
        tmp_path,
        {
            "s3://lethe-store/production": variables["LETHE_STORE_URL"],
            "https://s3.example.org": variables["LETHE_STORE_ENDPOINT"],
            "the-access-key": variables["LETHE_STORE_ACCESS_KEY"],
            "the-secret-key": variables["LETHE_STORE_SECRET_KEY"],
        },
    )
    assert any("/samples/" in where for where in bucket.everything())
    assert any("/checkpoints/" in where for where in bucket.everything())
