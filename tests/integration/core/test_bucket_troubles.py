"""What a bucket refuses, is told in a line that says what to do; and how it is named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.checkpoints import CheckpointStore, CheckpointStoreUnavailable
from core.errors import LetheError, SettingsError
from core.object_store import Access, Bucket, bucket_of, explained
from core.samples import SampleStore, SampleStoreUnreadable
from core.scratch import ScratchStore
from core.settings import Settings
from tests.buckets import Server, TestBucket

NOBODY = "http://127.0.0.1:1"  # a port that nobody listens on


@pytest.mark.parametrize(
    ("code", "expected"),
    [("AccessDenied", "s3:ListBucketVersions"), ("NotImplemented", None), ("Slow", "Slow")],
)
def test_a_store_that_does_not_show_versions(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, code: str, expected: str | None
) -> None:
    """Without the right nobody can tell; a store that has no versions keeps none."""
    from botocore.exceptions import ClientError

    shown = bucket.bucket
    bucket.client.put_object(Bucket=bucket.name, Key="lethe/a", Body=b"a")

    def refuse(name: str) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": code}}, name)

    monkeypatch.setattr(shown._client, "get_paginator", refuse)
    if expected is None:
        shown.check()
        assert shown.destroy_old_versions(bucket.url).files == 0
        assert shown.end_uploads(bucket.url) == 0
    else:
        with pytest.raises(SettingsError, match=expected):
            shown.check()
        if code == "Slow":
            with pytest.raises(LetheError, match="Slow"):
                shown.end_uploads(bucket.url)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_a_deletion_that_is_refused(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    from botocore.exceptions import ClientError

    shown = bucket.bucket
    bucket.client.put_object(Bucket=bucket.name, Key="lethe/a", Body=b"a")

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": code}}, "DeleteObjects")

    monkeypatch.setattr(shown._client, "delete_objects", refuse)
    with pytest.raises(
        LetheError, match="s3:DeleteObjectVersion" if code == "AccessDenied" else code
    ):
        shown.destroy(f"{bucket.name}/lethe/a")
    assert bucket.everything()


def test_young_uploads_are_left_to_who_began_them(bucket: TestBucket) -> None:
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="lethe/samples/a")
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="elsewhere/a")
    century = timedelta(days=36_500)  # this server says that every upload was begun in 2010
    assert bucket.bucket.end_uploads(bucket.url, century) == 0
    assert bucket.bucket.end_uploads(bucket.url) == 1
    assert [*bucket.everything()] == ["elsewhere/a unfinished"]


def unusable(bucket: TestBucket, kind: str) -> Bucket:
    access = bucket.server.access
    if kind == "gone":
        return Bucket(bucket.url, Access(NOBODY, "us-east-1", access.key, access.secret))
    if kind == "keyless":
        return Bucket(bucket.url, Access(access.endpoint, "us-east-1"))
    return Bucket("s3://no-such-bucket/lethe", access)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gone", "it does not answer: check LETHE_STORE_ENDPOINT"),
        ("keyless", "there are no credentials: set LETHE_STORE_ACCESS_KEY"),
        ("missing", "there is no such bucket: make it"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_one_line(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, expected: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("core.object_store._PATIENCE", {"retries": {"total_max_attempts": 1}})
    monkeypatch.setattr("core.object_store.ATTEMPTS", 0)
    wrong = unusable(bucket, kind)
    with pytest.raises(SettingsError, match=expected):
        wrong.check()
    checkpoints = CheckpointStore(f"{wrong.url}/checkpoints", wrong)
    with pytest.raises(CheckpointStoreUnavailable, match=expected):
        checkpoints.read("0" * 64)
    with pytest.raises(CheckpointStoreUnavailable, match=expected):
        checkpoints.write({"weight": np.zeros(1, np.float32)}, {})
    with pytest.raises(OSError, match=expected):
        ScratchStore(f"{wrong.url}/scratch", wrong).latest("job_1")
    if kind != "keyless":  # Lance asks this machine's network for credentials, for seconds
        with pytest.raises(SampleStoreUnreadable, match=expected):
            SampleStore(f"{wrong.url}/samples", bucket=wrong).count("digits")


def test_denied_and_wrong_keys_are_told_apart() -> None:
    assert "access key" in (explained(OSError("InvalidAccessKeyId: no")) or "")
    assert "secret key" in (explained(OSError("SignatureDoesNotMatch")) or "")
    assert "grant the rights" in (explained(PermissionError("Access Denied")) or "")
    assert explained(ValueError("a checkpoint 403403 is damaged")) is None


def test_settings_and_the_usual_variables_name_the_server(
    s3: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket_of(settings) is None
    mine = settings.model_copy(update={"store_url": "s3://shop/"})
    assert bucket_of(mine) == Bucket("s3://shop", Access())
    assert "aws_endpoint" not in Access().for_lance
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://there:9000")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert Access.of(mine) == Access("http://there:9000", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.there")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert Access.of(mine) == Access("https://s3.there", "us-east-1")
    given = mine.model_copy(update={"store_endpoint": s3.url, "store_region": "here"})
    assert Access.of(given) == Access(s3.url, "here")
    assert Access.of(given).for_lance["allow_http"] == "true"


def test_without_what_reaches_a_bucket_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("core.object_store.importlib.import_module", missing)
    with pytest.raises(SettingsError, match=r"pip install 'lethe\[s3\]'"):
        Access().client()
