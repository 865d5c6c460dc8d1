"""Samples, checkpoints and scratch in a versioned S3 bucket: what is destroyed is in no version."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import lance
import numpy as np
import pytest
from pydantic import SecretStr

from core import _sample_batch
from core.backend import Backend, open_backend
from core.checkpoints import (
    CheckpointCorrupt,
    CheckpointMissing,
    CheckpointStoreUnavailable,
)
from core.object_store import VersionsKept
from core.samples import SampleStore
from tests.buckets import TestBucket
from tests.unit.core.samples.making import SHAPE, assert_batch, batch_of, name_of, pixels_of

ARRAYS = {"weight": np.arange(1000, dtype=np.float32)}


def needles(key: int) -> list[bytes]:
    pixels = pixels_of(key).tobytes()
    return [pixels, pixels[:16], pixels[-16:], name_of(key).encode()]


@pytest.fixture
def production(postgres_backend: Backend, bucket: TestBucket) -> Iterator[Backend]:
    """PostgreSQL and the bucket."""
    settings = postgres_backend.settings.model_copy(update=_values(bucket))
    with closing(open_backend(settings, send=lambda _: None)) as opened:
        yield opened


@pytest.fixture
def store(production: Backend) -> SampleStore:
    """Three fragments of fifty samples."""
    samples = production.samples
    samples.create("digits", SHAPE)
    for start in range(0, 150, 50):
        samples.append("digits", [batch_of(range(start, start + 50))])
    return samples


def _values(bucket: TestBucket) -> dict[str, Any]:
    secret = ("store_access_key", "store_secret_key")
    return {k: SecretStr(v) if k in secret else v for k, v in bucket.values.items()}


def orphan(bucket: TestBucket, dataset: str) -> str:
    """What a writer leaves that was killed before its commit: a file, and parts of another."""
    uri = f"{bucket.url}/samples/{dataset}.lance"
    options = bucket.server.access.for_lance
    schema = lance.dataset(uri, storage_options=options).schema
    table = _sample_batch.to_arrow(batch_of(range(900, 910)), schema)
    lance.fragment.write_fragments(table, uri, mode="append", storage_options=options)
    key = f"lethe/samples/{dataset}.lance/data/parts"
    begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    named = {"Bucket": bucket.name, "Key": key, "UploadId": begun["UploadId"]}
    bucket.client.upload_part(**named, PartNumber=1, Body=pixels_of(900).tobytes())
    return key


def test_an_erased_sample_is_in_no_version_of_any_object(
    store: SampleStore, bucket: TestBucket
) -> None:
    erased = [3, 7, 60]
    store.delete("digits", erased)
    for key in erased:
        assert bucket.holding(needles(key)), "deleting alone leaves the bytes: this test can fail"
    data = bucket.client.list_objects_v2(
        Bucket=bucket.name, Prefix="lethe/samples/digits.lance/data"
    )
    untouched = {each["Key"] for each in data["Contents"]}

    report = store.purge("digits")

    assert (report.complete, report.fragments) == (True, 2)
    for key in erased:
        assert bucket.holding(needles(key)) == []
    assert bucket.holding(needles(100))
    data = bucket.client.list_objects_v2(
        Bucket=bucket.name, Prefix="lethe/samples/digits.lance/data"
    )
    assert len(untouched & {each["Key"] for each in data["Contents"]}) == 1
    rest = [key for key in range(150) if key not in erased]
    assert_batch(store.take("digits", rest), rest)
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    assert all(each["IsLatest"] for each in listed["Versions"])
    assert "DeleteMarkers" not in listed


def test_the_remains_of_a_killed_writer_go_once_nobody_writes(
    store: SampleStore, bucket: TestBucket
) -> None:
    parts = orphan(bucket, "digits")
    with store._lock("digits").shared():
        assert not store.purge("digits", wait_seconds=0).complete
        assert bucket.holding(needles(905)), "this might be a living writer's file"
        assert f"{parts} unfinished" in bucket.everything()
    assert store.purge("digits").complete
    assert bucket.holding(needles(905)) == []
    assert f"{parts} unfinished" not in bucket.everything()


def test_a_dropped_data_set_leaves_no_version(store: SampleStore, bucket: TestBucket) -> None:
    orphan(bucket, "digits")
    store.drop("digits")
    assert bucket.everything() == {}
    assert not store.exists("digits")
    store.drop("digits")


def test_writers_on_two_machines_lose_nothing(store: SampleStore) -> None:
    """A commit is a conditional put: of two at once one wins, and the other comes after it."""
    starts = range(1000, 1040, 10)
    with ThreadPoolExecutor(4) as at_once:
        for done in [
            *[
                at_once.submit(store.append, "digits", [batch_of(range(start, start + 10))])
                for start in starts
            ],
            at_once.submit(store.delete, "digits", [5]),
        ]:
            done.result()
    assert store.count("digits") == 150 + 40 - 1
    assert_batch(store.take("digits", [1000, 1039]), [1000, 1039])


def test_a_checkpoint_that_is_destroyed_is_in_no_version(
    production: Backend, bucket: TestBucket
) -> None:
    checkpoints, data = production.checkpoints, ARRAYS["weight"].tobytes()
    stored = checkpoints.write(ARRAYS, {"a": "b"})
    name = f"lethe/checkpoints/{stored.digest}.safetensors"
    bucket.client.put_object(Bucket=bucket.name, Key=name, Body=b"damaged" + data)
    with pytest.raises(CheckpointCorrupt, match="damaged"):
        checkpoints.read(stored.digest)
    assert checkpoints.write(ARRAYS, {"a": "b"}) == stored, "what is damaged is mended"
    np.testing.assert_array_equal(
        checkpoints.read(stored.digest).arrays["weight"], ARRAYS["weight"]
    )
    assert len(bucket.holding([data])) == 3, "three versions of one object"
    assert checkpoints.exists(stored.digest)
    assert checkpoints.digests() == [stored.digest]
    assert checkpoints.remove_orphans(set(), 3600) == []

    assert checkpoints.destroy(stored.digest)

    assert bucket.everything() == {}
    assert not checkpoints.destroy(stored.digest)
    with pytest.raises(CheckpointMissing):
        checkpoints.read(stored.digest)


def test_scratch_keeps_the_last_of_each_job_and_no_version_of_the_others(
    production: Backend, bucket: TestBucket
) -> None:
    scratch = production.scratch
    for step in (1, 2):
        scratch.write("job_1", 1, step, {"at": np.full(9, step)}, {})
    [only] = bucket.everything()
    assert ".2." in only
    latest = scratch.latest("job_1")
    assert latest is not None
    assert latest.arrays["at"][0] == 2
    assert scratch.destroy("job_1") == 1
    assert bucket.everything() == {}


def test_versions_that_may_not_be_destroyed_are_told(
    store: SampleStore, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a locked bucket, or a right that is missing, answers for each object."""
    client = store._bucket._client  # type: ignore[union-attr]
    refused = {"Errors": [{"Code": "AccessDenied", "Key": "k", "VersionId": "v"}]}
    with monkeypatch.context() as patch:
        patch.setattr(client, "delete_objects", lambda **_: refused)
        store.delete("digits", [3])
        with pytest.raises(VersionsKept, match="s3:DeleteObjectVersion, and lift") as told:
            store.purge("digits")
        assert "not complete" in str(told.value)
        assert bucket.holding(needles(3))
    store.purge("digits")  # once the right is granted
    assert bucket.holding(needles(3)) == []


def test_what_reads_back_otherwise_is_not_published(
    production: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(production.checkpoints), "_read", lambda *_: b"other bytes")
    with pytest.raises(CheckpointStoreUnavailable, match="reads back as other bytes"):
        production.checkpoints.write(ARRAYS, {})


def test_an_embedded_home_locks_a_bucket_by_files(
    sqlite_backend: Backend, bucket: TestBucket
) -> None:
    settings = sqlite_backend.settings.model_copy(update=_values(bucket))
    backend = open_backend(settings, send=lambda _: None)
    backend.check_store()
    backend.samples.create("digits", SHAPE)
    backend.samples.append("digits", [batch_of(range(10))])
    backend.samples.delete("digits", [3])
    with backend.samples._lock("digits").shared():
        assert not backend.samples.purge("digits", wait_seconds=0).complete
    assert backend.samples.purge("digits").complete
    assert bucket.holding(needles(3)) == []
    assert (settings.home / "locks" / "digits").exists()
    backend.close()
