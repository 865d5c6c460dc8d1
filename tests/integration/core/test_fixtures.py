"""The shared fixtures, which every other test rests on."""

from __future__ import annotations

import os
import uuid

import pytest
import redis
from sqlalchemy import func, select

from core import jobs, registry, requests
from core.backend import Backend
from core.migrate import is_current
from core.records import AuditEvent, Model
from core.settings import Settings
from tests.factories import make_dataset, make_model, other, subject_in, submit


@pytest.mark.parametrize("_", range(2))
def test_a_backend_is_migrated_and_the_tests_own(backend: Backend, _: int) -> None:
    assert is_current(backend.db.engine)
    with backend.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(AuditEvent)) == 0
        assert session.scalar(select(func.count()).select_from(Model)) == 0
    make_dataset(backend)  # the second round must not see it


def test_factories_make_what_the_use_cases_find(backend: Backend) -> None:
    dataset = make_dataset(backend)
    model = make_model(backend, dataset)
    with backend.db.reading() as session:
        version = registry.serving(session, model.id)
        assert version is not None
        assert backend.checkpoints.read(version.digest).arrays["weight"].shape == (4, 3)
    done = submit(backend, subject_in(backend, dataset, "heldout"))
    assert (done.request.state, done.request.sample_count) == ("scheduled", 2)
    with backend.db.reading() as session:
        assert [jobs.get(session, j).model_id for j in done.job_ids] == [model.id]
        assert requests.get(session, done.request.id).subject_id is not None


@pytest.mark.parametrize("split", ["train", "reference", "heldout", "test"])
def test_subject_in_finds_one_of_the_split(sqlite_backend: Backend, split: str) -> None:
    dataset = make_dataset(sqlite_backend)
    name = subject_in(sqlite_backend, dataset, split, 1)  # type: ignore[arg-type]
    number = int(name.removeprefix("subject-"))
    found = sqlite_backend.samples.find_sample_ids(
        dataset.id, [f"train/{2 * number:05}", f"train/{2 * number + 1:05}"]
    )
    inside = set(sqlite_backend.samples.keys(dataset.id, split).tolist())
    assert len(found) == 2
    assert set(found.values()) <= inside


@pytest.mark.parametrize("_", range(2))
def test_redis_is_empty_before_each_test(redis_url: str, _: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set(uuid.uuid4().hex, 1)


def test_settings_ignore_the_person_who_runs_the_tests(settings: Settings) -> None:
    assert not {f"LETHE_{name.upper()}" for name in Settings.model_fields} & set(os.environ)
    assert settings.embedded
    assert other(settings, lease_seconds=1.5).lease_seconds == 1.5
